// Numbers, names and addresses as bytes.

// A plain loop: Uint8Array.from with a function takes ten times as long.
export function bytesOf(text) {
  const letters = atob(text), bytes = new Uint8Array(letters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes;
}
export const numbersOf = (Kind, text) => new Kind(bytesOf(text).buffer);

// Python keeps an undecodable byte of a file name as a lone surrogate: back to that byte.
export function fileBytes(text) {
  const parts = text.split(/([\udc80-\udcff])/u);  // with u, halves of a pair do not match
  return parts.map((part, i) =>
    i % 2 ? Uint8Array.of(part.charCodeAt(0) - 0xdc00) : new TextEncoder().encode(part));
}

// The way back: bytes that are no UTF-8 become lone surrogates, as Python reads names of files.
export function fileText(bytes) {
  const whole = new TextDecoder().decode(bytes);
  if (!whole.includes("\ufffd")) return whole;
  const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let text = "";
  for (let at = 0; at < bytes.length;) {
    const first = bytes[at], length = first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    try {
      text += strict.decode(bytes.subarray(at, at + length));
      at += length;
    } catch { text += String.fromCharCode(0xdc00 + bytes[at++]) }
  }
  return text;
}

// As Python's urllib.parse.quote writes a path.
export function quoted(text) {
  const escape = byte => "%" + byte.toString(16).toUpperCase().padStart(2, "0");
  return fileBytes(text).flatMap(bytes => Array.from(bytes, byte => {
    const letter = String.fromCharCode(byte);
    return /[\w.~/-]/.test(letter) ? letter : escape(byte);
  })).join("");
}
