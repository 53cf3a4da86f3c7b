"use strict";

/** What the page was made with; see the module that wrote it. */
const data = JSON.parse(document.getElementById("data").textContent);

/** The element with this id. */
const byId = (id) => document.getElementById(id);

/** A new element. Text is set as text, never as markup, so names from files cannot become part of the page. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** An address for a medium: that of its file, or of its bytes in memory. */
function addressOf(medium) {
  if (medium.href !== undefined) return medium.href;
  const text = atob(medium.base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return URL.createObjectURL(new Blob([bytes], { type: medium.type }));
}

/** A time such as 1:04.25. */
function clock(seconds) {
  const hundredths = Math.floor(seconds * 100 + 0.5);
  const rest = hundredths % 6000;
  const two = (number) => String(number).padStart(2, "0");
  return `${Math.floor(hundredths / 6000)}:${two(Math.floor(rest / 100))}.${two(rest % 100)}`;
}
