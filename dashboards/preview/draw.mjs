// Draws every board of the directory above from a live Prometheus into a picture beside it:
//     npm run draw [-- http://127.0.0.1:9090 [minutes]]
// It asks Prometheus what the boards ask, puts the answers into a page, and lets headless Chromium take its picture.
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const [prometheus = 'http://127.0.0.1:9090', minutes = '15'] = process.argv.slice(2);
const here = dirname(fileURLToPath(import.meta.url));
const boards = join(here, '..');
const built = join(here, 'built');
const WIDTH = 1600;
const chromium = process.env.CHROMIUM ?? 'chromium';

const to = Math.floor(Date.now() / 1000);
const from = to - Number(minutes) * 60;
const step = Math.max(1, Math.round((to - from) / 240));

async function ask(query) {
  const filled = query
    .replaceAll('$__rate_interval', '1m').replaceAll('$__range', `${minutes}m`)
    .replaceAll('$job', '.*').replaceAll('$node', '.*');
  const fields = new URLSearchParams({ query: filled, start: from, end: to, step });
  const answer = await (await fetch(`${prometheus}/api/v1/query_range?${fields}`)).json();
  if (answer.status !== 'success') throw new Error(`${filled}: ${answer.error}`);
  return answer.data.result.map(({ metric, values }) => ({ metric, values: gapped(values) }));
}

// A step without an answer is a gap, as Grafana draws it: a node that was away has no line across the time.
function gapped(values) {
  return values.flatMap(([at, number], place) => {
    const before = values[place - 1]?.[0] ?? at;
    const missing = at - before > 1.5 * step ? [[(before + step) * 1000, null]] : [];
    return [...missing, [at * 1000, number === 'NaN' ? null : Number(number)]];
  });
}

// Chromium writes the picture and may stay: it is ended as soon as the file is there and does not grow any more.
async function photograph(page, picture, height) {
  const home = await mkdtemp(join(tmpdir(), 'preview-'));
  await rm(picture, { force: true });
  const browser = spawn(chromium, [
    '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--enable-logging=stderr', '--allow-file-access-from-files', '--hide-scrollbars', `--user-data-dir=${home}`,
    `--window-size=${WIDTH},${height}`, '--virtual-time-budget=8000', `--screenshot=${picture}`, `file://${page}`,
  ], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  browser.stderr.on('data', (bytes) => { said += bytes; });
  const ended = new Promise((resolve) => browser.on('exit', resolve));
  let size = 0;
  for (let waited = 0; waited < 120; waited += 1) {
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 500))]);
    const now = await stat(picture).then((file) => file.size, () => 0);
    if (now > 0 && now === size) break;
    size = now;
  }
  browser.kill('SIGKILL');
  await ended;
  await rm(home, { recursive: true, force: true });
  const complaints = said.split('\n').filter((line) => line.includes('CONSOLE') && /error/i.test(line));
  if (size === 0 || complaints.length > 0) throw new Error(`${picture}: ${complaints.join('\n') || said}`);
}

await mkdir(built, { recursive: true });
await build({
  entryPoints: [join(here, 'page.jsx')], outfile: join(built, 'page.js'), bundle: true, format: 'iife', platform: 'browser',
  alias: { 'react-custom-scrollbars-2': join(here, 'scrollbars.js') },
  loader: { '.svg': 'text', '.png': 'dataurl', '.woff2': 'dataurl', '.ttf': 'dataurl' },
  define: { 'process.env.NODE_ENV': '"production"', global: 'window' }, logLevel: 'error',
});
for (const name of (await readdir(boards)).filter((name) => name.endsWith('.json'))) {
  const board = JSON.parse(await readFile(join(boards, name), 'utf8'));
  const queries = board.panels.flatMap((panel) => panel.targets ?? []).map((target) => target.expr);
  const answers = Object.fromEntries(await Promise.all(queries.map(async (query) => [query, await ask(query)])));
  const preview = JSON.stringify({ board, answers, range: { from: from * 1000, to: to * 1000 } }).replaceAll('<', '\\u003c');
  const page = join(built, name.replace('.json', '.html'));
  await writeFile(page, `<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="page.css"><body><div id="board"></div><script>window.preview = ${preview}</script><script src="page.js"></script>`);
  const bottom = Math.max(...board.panels.map(({ gridPos }) => gridPos.y + gridPos.h));
  const picture = join(boards, name.replace('.json', '.png'));
  await photograph(page, picture, 48 + bottom * 38 + 8);
  console.log(picture);
}
