/** A host that shows widgets in a shadow tree, as marimo does, has our style sheet only there. */
export function ensureStyle(root: HTMLElement, css: string): void {
  if (getComputedStyle(root).getPropertyValue("--livedb-text") !== "") return;
  const style = document.createElement("style");
  style.textContent = css;
  root.before(style);
}
