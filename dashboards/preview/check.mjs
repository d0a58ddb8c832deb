// Checks every board of the directory above against the types of Grafana's published schema, @grafana/schema: each key,
// each value, the options of each kind of panel and each query. `npm run check`.
import { execFileSync } from 'node:child_process';
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const built = join(here, 'built');
const KINDS = { timeseries: 'Lines', stat: 'Numbers', bargauge: 'Bars', table: 'Rows' };

// The schema has enums where JSON has their words.
const TYPES = `
import type { Dashboard, Panel, RowPanel, FieldConfig, TableOptions, GraphFieldConfig } from '@grafana/schema';
import type * as S from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as B from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
import type * as T from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';
type Plain<T> = T extends string ? \`\${T}\` : T extends number | boolean | null | undefined ? T
  : T extends (infer U)[] ? Plain<U>[] : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
type Drawn<Type, Options, Custom> = Omit<Plain<Panel>, 'type' | 'options' | 'targets' | 'fieldConfig'> & {
  type: Type; options: Plain<Options>; targets: Query[];
  fieldConfig: { defaults: Omit<Plain<FieldConfig>, 'custom'> & { custom?: Plain<Custom> }; overrides: object[] };
};
interface Query {
  refId: string; expr: string; legendFormat: string; instant: boolean; range: boolean;
  format: 'time_series' | 'table'; datasource: { type: 'prometheus'; uid: string };
}
export type Lines = Drawn<'timeseries', T.Options, GraphFieldConfig>;
export type Numbers = Drawn<'stat', S.Options, never>;
export type Bars = Drawn<'bargauge', B.Options, never>;
export type Rows = Drawn<'table', TableOptions, never>;
export type Heading = Plain<RowPanel>;
export type Whole = Omit<Plain<Dashboard>, 'panels'>;
`;

await mkdir(built, { recursive: true });
await writeFile(join(built, 'types.ts'), TYPES);
const files = ['types.ts'];
for (const name of (await readdir(join(here, '..'))).filter((name) => name.endsWith('.json'))) {
  const { panels, ...board } = JSON.parse(await readFile(join(here, '..', name), 'utf8'));
  const lines = ["import type { Bars, Heading, Lines, Numbers, Rows, Whole } from './types';"];
  lines.push(`export const board: Whole = ${JSON.stringify(board, null, 1)};`);
  for (const panel of panels) {
    const type = panel.type === 'row' ? 'Heading' : KINDS[panel.type];
    lines.push(`export const panel${panel.id}: ${type} = ${JSON.stringify(panel, null, 1)};`);
  }
  const file = name.replace('.json', '.ts');
  await writeFile(join(built, file), lines.join('\n'));
  files.push(file);
}
execFileSync(process.execPath, [
  join(here, 'node_modules/typescript/bin/tsc'), '--noEmit', '--strict', '--skipLibCheck', '--module', 'esnext',
  '--moduleResolution', 'bundler', '--target', 'es2022', ...files.map((file) => join(built, file)),
], { stdio: 'inherit' });
console.log(`${files.length - 1} boards are as @grafana/schema says`);
