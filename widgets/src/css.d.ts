// esbuild turns an imported style sheet into table.css beside table.js.
declare module "*.css";
