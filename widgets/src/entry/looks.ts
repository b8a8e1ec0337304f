// The module of tables whose columns have formats; it comes with their model (LiveTable.looks).

export { makeDress } from "../view/looks.js";
