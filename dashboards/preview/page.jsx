// Draws one board as Grafana lays it out, with Grafana's own components, from answers that draw.mjs put into the page.
import React from 'react';
import { createRoot } from 'react-dom/client';
import {
  FieldType, ThemeContext, createTheme, dateTime, getDisplayProcessor, getFieldDisplayValues, standardTransformers,
  standardTransformersRegistry, toDataFrame, transformDataFrame,
} from '@grafana/data';
import { BarGauge, BigValue, GlobalStyles, PanelChrome, Table, TimeSeries, VizRepeater } from '@grafana/ui';

const { board, answers, range } = window.preview;
const theme = createTheme({ colors: { mode: 'dark' } });
const timeZone = 'utc';
standardTransformersRegistry.setInit(() =>
  [['merge', standardTransformers.mergeTransformer], ['organize', standardTransformers.organizeFieldsTransformer]].map(
    ([id, transformation]) => ({ id, name: id, transformation, editor: () => null }),
  ),
);

// The field's settings, the panel's defaults first, then what is overridden for its name.
function configured(field, name, panel) {
  const { defaults, overrides } = panel.fieldConfig;
  const config = { ...structuredClone(defaults), displayNameFromDS: name, ...field.config };
  for (const { matcher, properties } of overrides) {
    if (matcher.id === 'byName' && matcher.options === name) {
      for (const { id, value } of properties) config[id] = value;
    }
  }
  const done = { ...field, config };
  done.display = getDisplayProcessor({ field: done, theme, timeZone });
  return done;
}

// What Prometheus answered to each query of the panel, as Grafana's data source gives it.
function frames(panel) {
  let index = 0;
  return panel.targets.flatMap((target) => {
    const series = answers[target.expr];
    if (target.format === 'table') {
      const labels = [...new Set(series.flatMap((one) => Object.keys(one.metric)))];
      const fields = labels.map((label) => ({
        name: label, type: FieldType.string, values: series.map((one) => one.metric[label] ?? ''), config: {},
      }));
      const time = { name: 'Time', type: FieldType.time, values: series.map(() => range.to), config: {} };
      const value = {
        name: `Value #${target.refId}`, type: FieldType.number, values: series.map((one) => one.values.at(-1)[1]), config: {},
      };
      return [toDataFrame({ refId: target.refId, fields: [time, ...fields, value] })];
    }
    return series.map((one) => {
      const name = target.legendFormat.replace(/{{(\w+)}}/g, (_, label) => one.metric[label] ?? '');
      const time = { name: 'Time', type: FieldType.time, values: one.values.map(([at]) => at), config: {} };
      const value = { name: 'Value', type: FieldType.number, values: one.values.map(([, number]) => number), config: {} };
      const frame = toDataFrame({ refId: target.refId, name, fields: [time, value] });
      frame.fields[1] = configured(frame.fields[1], name, panel);
      frame.fields[1].state = { seriesIndex: index++, displayName: name };
      return frame;
    });
  });
}

function numbers(panel, sparkline) {
  return getFieldDisplayValues({
    fieldConfig: { defaults: {}, overrides: [] }, reduceOptions: panel.options.reduceOptions, replaceVariables: (text) => text,
    theme, data: frames(panel), sparkline, timeZone,
  });
}

function Lines({ panel, width, height }) {
  return (
    <TimeSeries
      frames={frames(panel)} width={width} height={height} timeZone={timeZone} legend={panel.options.legend}
      timeRange={{ from: dateTime(range.from), to: dateTime(range.to), raw: {} }} options={panel.options}
    />
  );
}

function Numbers({ panel, width, height }) {
  const values = numbers(panel, true);
  const { colorMode, graphMode, justifyMode } = panel.options;
  const textMode = values.length > 1 ? 'value_and_name' : 'value';
  return (
    <VizRepeater
      getValues={() => values} source={values} renderCounter={0} width={width} height={height} orientation="auto" autoGrid
      renderValue={({ value, width, height, count }) => (
        <BigValue
          theme={theme} value={value.display} sparkline={value.sparkline} width={width} height={height} count={count}
          colorMode={colorMode} graphMode={graphMode} justifyMode={justifyMode} textMode={textMode} wideLayout
        />
      )}
    />
  );
}

function Bars({ panel, width, height }) {
  const values = numbers(panel, false);
  const max = Math.max(1, ...values.map((value) => value.display.numeric));
  const { displayMode, orientation, minVizHeight, maxVizHeight } = panel.options;
  return (
    <VizRepeater
      getValues={() => values} source={values} renderCounter={0} width={width} height={height} orientation={orientation}
      minVizHeight={minVizHeight} maxVizHeight={maxVizHeight} itemSpacing={6}
      renderValue={({ value, width, height }) => (
        <BarGauge
          theme={theme} value={value.display} display={value.view?.getFieldDisplayProcessor(value.colIndex)} field={{ ...value.field, min: 0, max }}
          width={width} height={height} orientation={orientation} displayMode={displayMode} showUnfilled valueDisplayMode="color"
          namePlacement="auto"
        />
      )}
    />
  );
}

function Rows({ panel, width, height }) {
  const [frame, setFrame] = React.useState(null);
  React.useEffect(() => {
    const drawn = transformDataFrame(panel.transformations, frames(panel)).subscribe(([merged]) => {
      const fields = merged.fields.map((field) => configured(field, field.config.displayName ?? field.name, panel));
      setFrame({ ...merged, fields });
    });
    return () => drawn.unsubscribe();
  }, []);
  return frame && <Table data={frame} width={width} height={height} cellHeight="sm" timeRange={{}} />;
}

const KINDS = { timeseries: Lines, stat: Numbers, bargauge: Bars, table: Rows };
const column = (window.innerWidth - 16) / 24;

function Panel({ panel }) {
  const { x, y, w, h } = panel.gridPos;
  const place = { position: 'absolute', left: 8 + x * column, top: 48 + y * 38, width: w * column - 8, height: h * 38 - 8 };
  if (panel.type === 'row') {
    return <div style={{ ...place, ...theme.typography.h5, paddingTop: 4 }}>{panel.title}</div>;
  }
  const Kind = KINDS[panel.type];
  return (
    <div style={place}>
      <PanelChrome title={panel.title} description={panel.description} width={place.width} height={place.height}>
        {(width, height) => <Kind panel={panel} width={width} height={height} />}
      </PanelChrome>
    </div>
  );
}

createRoot(document.getElementById('board')).render(
  <ThemeContext.Provider value={theme}>
    <GlobalStyles />
    <div style={{ ...theme.typography.h4, position: 'absolute', left: 12, top: 12 }}>{board.title}</div>
    {board.panels.map((panel) => <Panel key={panel.id} panel={panel} />)}
  </ThemeContext.Provider>,
);
