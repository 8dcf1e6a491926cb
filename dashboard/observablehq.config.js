// Nothing is fetched from elsewhere: no fonts, no modules but those of package-lock.json.
export default {
  title: "Loyalty",
  root: "src",
  output: "dist",
  globalStylesheets: [],
  theme: ["air"],
  sidebar: false,
  toc: false,
  pager: false,
  search: false,
  footer: "",
  dynamicPaths: []
};
