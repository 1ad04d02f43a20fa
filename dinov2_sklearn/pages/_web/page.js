// What every page begins with: its data, unpacked from the gzip and base64 that the file holds.

import { bytesOf } from "./bytes.js";

export const $ = selector => document.querySelector(selector);
export const root = document.documentElement;
export const notice = text => { $("#notice").textContent = text };
addEventListener("error", event => notice("This page cannot be shown: " + event.message));
addEventListener("unhandledrejection", event => notice("This page cannot be shown: " + event.reason));

export function unpack(id) {
  const bytes = bytesOf($(id).textContent);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream);
}

export function append(parent, tag, text = "", properties = {}) {
  const element = Object.assign(document.createElement(tag), properties);
  element.textContent = text;  // never markup: what files and groups are called is data
  parent.append(element);
  return element;
}

export const isDark = () => root.dataset.theme === "dark";
export function setTheme(theme) {
  root.dataset.theme = root.style.colorScheme = theme;
}

export const page = await unpack("#data").json();
document.title = $("h1").textContent = page.title;
$("#heading p").textContent = page.facts;
setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
