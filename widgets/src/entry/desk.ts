// The module that pages load for all their tables, when the first rows are shown.

export { createDesk } from "../view/desk.js";
