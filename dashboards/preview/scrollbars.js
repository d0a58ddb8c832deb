// Grafana's table takes the default export of this library, which an ES module does not find in its CommonJS build.
export { Scrollbars as default } from './node_modules/react-custom-scrollbars-2/lib/index.js';
