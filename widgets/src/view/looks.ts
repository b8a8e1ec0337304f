// What a look is made of on the page. Texts are set as text; addresses were judged in model/looks.ts.

import type { Cell } from "../model/cells.js";
import type { MakeDress } from "../model/formats.js";
import { type Figure, figureOf, isStored, readLookFormat } from "../model/looks.js";
import type { Fields } from "../model/messages.js";
import { createPictures, type Pictures } from "./pictures.js";

const SVG = "http://www.w3.org/2000/svg";
const LINE_PX = 20;

/** A text that is longer may not be seen whole. */
const TITLE_CHARACTERS_MIN = 30;


/** px that a figure takes beside its text, or, of a picture, in its place. */
const PX: Record<Figure["type"], number> = { text: 0, progress: 70, link: 0, badges: 18, image: 44, stored: 44, sparkline: 96 };

const formats = new WeakMap<Fields, ReturnType<typeof readLookFormat>>();

export const makeDress: MakeDress = (fetch, signal) => {
  const pictures = createPictures(fetch, signal);
  return (cell, kind, look, figures) => {
    const format = formats.get(look) ?? readLookFormat(look);
    formats.set(look, format);
    const figure = format === null ? null : figureOf(cell, kind, format, figures);
    if (figure === null) return null;
    const { type, text } = figure;
    return {
      text,
      title: titleOf(cell, figure),
      key: keyOf(figure),
      px: PX[type] * (type === "badges" ? figure.badges.length : 1),
      isPicture: type === "image" || type === "stored" || type === "sparkline",
      href: type === "link" ? figure.href : null,
      draw: type === "text" ? null : (element, label) => element.replaceChildren(...elementsOf(figure, { label, cell, pictures })),
    };
  };
};

/** What drawing needs besides the figure. */
interface Place {
  /** Of the column. */
  label: string;
  cell: Cell;
  pictures: Pictures;
}

/** The exact value, unless it stands there. */
function titleOf(cell: Cell, figure: Figure): string {
  if (figure.type === "sparkline") return figure.text;
  const exact = cell.title || cell.text;
  return exact === figure.text && exact.length <= TITLE_CHARACTERS_MIN ? "" : exact;
}

function keyOf(figure: Figure): string {
  const { type, text } = figure;
  if (type === "sparkline") return `${type} ${text} ${figure.heights.join()}`;
  if (type === "badges") return JSON.stringify(figure.badges);
  if (type === "stored") return `${type} ${figure.name}`;
  return `${type} ${text} ${type === "image" ? figure.src : type === "link" ? figure.href : type === "progress" ? figure.share : ""}`;
}

function elementsOf(figure: Figure, { label, cell, pictures }: Place): Node[] {
  switch (figure.type) {
    case "progress":
      return [bar(figure.text, figure.share, label)];
    case "link":
      return [link(figure.text, figure.href)];
    case "badges":
      return figure.badges.map(([text, color]) => badge(text, color));
    case "image":
      return [isStored(figure.src) ? webOrStored(figure.src, label, cell, pictures) : image(figure.src, label)];
    case "stored":
      return [stored(figure.name, emptyImage(label), cell, pictures)];
    case "sparkline":
      return [line(figure.text, figure.heights)];
    case "text":
      return [document.createTextNode(figure.text)];
  }
}

function bar(text: string, share: number, label: string): HTMLElement {
  const element = document.createElement("div");
  element.className = "livedb-progress";
  const track = element.appendChild(document.createElement("span"));
  const percent = Math.round(share * 1000) / 10;
  const told = { role: "progressbar", "aria-label": label, "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": String(percent), "aria-valuetext": text };
  for (const [name, value] of Object.entries(told)) track.setAttribute(name, value);
  track.style.setProperty("--share", `${percent}%`);
  element.appendChild(document.createElement("span")).textContent = text;
  return element;
}

/** The Tab key passes it by, as it does all cells; `o` opens it. */
function link(text: string, href: string): HTMLElement {
  const element = document.createElement("a");
  element.href = href;
  element.target = "_blank";
  element.rel = "noopener noreferrer";
  element.tabIndex = -1;
  element.textContent = text;
  return element;
}

function badge(text: string, color: string): HTMLElement {
  const element = document.createElement("span");
  element.className = "livedb-badge";
  element.dataset["color"] = color;
  element.textContent = text;
  return element;
}

/** Its box is there before it is loaded; where it cannot be, its name stands there. */
function image(src: string, label: string): HTMLImageElement {
  const element = emptyImage(label);
  element.loading = "lazy";
  element.src = src;
  return element;
}

function emptyImage(label: string): HTMLImageElement {
  const element = document.createElement("img");
  element.decoding = "async";
  element.referrerPolicy = "no-referrer";
  element.alt = label;
  return element;
}

/** A picture of the kernel's; what turns out to be none is shown as the value that it is. */
function stored(name: string, element: HTMLImageElement, cell: Cell, pictures: Pictures): HTMLImageElement {
  pictures.show(element, name, () => {
    const value = document.createElement("span");
    value.textContent = cell.text;
    element.replaceWith(value);
  });
  return element;
}

/** A service may be out of the browser's reach, and never is out of the kernel's. */
function webOrStored(src: string, label: string, cell: Cell, pictures: Pictures): HTMLImageElement {
  const element = image(src, label);
  element.addEventListener("error", () => stored(src, element, cell, pictures), { once: true });
  return element;
}

function line(text: string, heights: readonly (number | null)[]): Node {
  const element = document.createElementNS(SVG, "svg");
  element.setAttribute("role", "img");
  element.setAttribute("aria-label", text);
  const last = Math.max(1, heights.length - 1);
  element.setAttribute("viewBox", `0 0 ${last} ${LINE_PX}`);
  element.setAttribute("preserveAspectRatio", "none");
  const path = element.appendChild(document.createElementNS(SVG, "path"));
  path.setAttribute("d", pathOf(heights.length === 1 ? [heights[0] ?? null, heights[0] ?? null] : heights));
  return element;
}

/** A point between gaps is a line to itself, which round ends make a dot. */
export function pathOf(heights: readonly (number | null)[]): string {
  let isDrawn = false;
  const steps = heights.flatMap((height, at) => {
    const isNext = isDrawn;
    isDrawn = height !== null;
    if (height === null) return [];
    const place = `${at} ${(LINE_PX - 2 - height * (LINE_PX - 4)).toFixed(1)}`;
    return isNext ? [`L${place}`] : [`M${place}L${place}`];
  });
  return steps.join("");
}
