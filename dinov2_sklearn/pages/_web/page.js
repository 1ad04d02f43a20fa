// What every page begins with: its data, unpacked from the gzip and base64 that the file holds.

const $ = selector => document.querySelector(selector);
const root = document.documentElement;
const notice = text => { $("#notice").textContent = text };
addEventListener("error", event => notice("This page cannot be shown: " + event.message));
addEventListener("unhandledrejection", event => notice("This page cannot be shown: " + event.reason));

// A plain loop: Uint8Array.from with a function takes ten times as long.
function bytesOf(text) {
  const letters = atob(text), bytes = new Uint8Array(letters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes;
}
const numbersOf = (Kind, text) => new Kind(bytesOf(text).buffer);

function unpack(id) {
  const bytes = bytesOf($(id).textContent);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream);
}

function append(parent, tag, text = "", properties = {}) {
  const element = Object.assign(document.createElement(tag), properties);
  element.textContent = text;  // never markup: what files and groups are called is data
  parent.append(element);
  return element;
}

const isDark = () => root.dataset.theme === "dark";
function setTheme(theme) {
  root.dataset.theme = root.style.colorScheme = theme;
}

const page = await unpack("#data").json();
document.title = $("h1").textContent = page.title;
$("#heading p").textContent = page.facts;
setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
