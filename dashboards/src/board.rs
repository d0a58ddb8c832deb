//! What a board is made of, and its JSON as Grafana reads it: the classic model, schema version 39.

use serde_json::{Value, json};

use crate::query::on_board;

/// One dashboard.
#[derive(Debug)]
pub struct Board {
    /// The name of its file, and of its picture.
    pub file: &'static str,
    /// What it is called.
    pub title: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// Its panels under their headings, top to bottom.
    pub rows: Vec<(&'static str, Vec<Panel>)>,
}

/// One picture of a board.
#[derive(Debug)]
pub struct Panel {
    /// What it is called.
    pub title: &'static str,
    /// What it shows, what good looks like, and what to do if it does not: a sentence each.
    pub tells: [&'static str; 3],
    /// How it is drawn.
    pub kind: Kind,
    /// Grafana's name of the unit.
    pub unit: &'static str,
    /// Of the board's twenty-four columns.
    pub width: u32,
    /// What it asks Prometheus.
    pub targets: Vec<Target>,
    /// Values from which on a colour holds, upwards; the first is the colour below them all.
    pub steps: Vec<(Option<f64>, &'static str)>,
    /// Colours of single series, by their legend.
    pub colours: Vec<(&'static str, &'static str)>,
}

/// How a panel is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Lines over time.
    Lines,
    /// Areas over time that add up.
    Stacked,
    /// Numbers of the moment.
    Number,
    /// Bars, longest first.
    Bars,
    /// Rows, one for each node; every target is a column of its legend's name.
    Table,
}

/// One query of a panel.
#[derive(Debug)]
pub struct Target {
    /// In `PromQL`, with the marks of a board: see `query.rs`.
    pub query: String,
    /// The name of its series.
    pub legend: &'static str,
}

impl Panel {
    /// A panel of twelve columns without colours of its own.
    pub(crate) fn new(
        kind: Kind,
        title: &'static str,
        unit: &'static str,
        tells: [&'static str; 3],
        targets: &[(&str, &'static str)],
    ) -> Self {
        let targets = targets.iter().map(|(query, legend)| Target { query: (*query).to_owned(), legend });
        let (steps, colours) = (vec![(None, "green")], Vec::new());
        Self { title, tells, kind, unit, width: 12, targets: targets.collect(), steps, colours }
    }

    pub(crate) fn wide(self, width: u32) -> Self {
        Self { width, ..self }
    }

    pub(crate) fn steps(self, steps: &[(Option<f64>, &'static str)]) -> Self {
        Self { steps: steps.to_vec(), ..self }
    }

    pub(crate) fn colours(self, colours: &[(&'static str, &'static str)]) -> Self {
        Self { colours: colours.to_vec(), ..self }
    }

    /// Its queries as the board carries them.
    pub fn queries(&self) -> impl Iterator<Item = String> {
        self.targets.iter().map(|target| on_board(&target.query))
    }

    const fn height(&self) -> u32 {
        match self.kind {
            Kind::Number => 4,
            Kind::Table => 6,
            Kind::Lines | Kind::Stacked | Kind::Bars => 8,
        }
    }

    fn json(&self, id: u32, (x, y): (u32, u32)) -> Value {
        let [shows, good, otherwise] = self.tells;
        let (kind, options) = self.drawn();
        json!({
            "id": id,
            "type": kind,
            "title": self.title,
            "description": format!("{shows}\n\n**Good:** {good}\n\n**If not:** {otherwise}"),
            "datasource": datasource(),
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height()},
            "targets": self.targets.iter().zip(REFERENCES).map(|(one, id)| self.target(one, id)).collect::<Vec<_>>(),
            "fieldConfig": {"defaults": self.field(), "overrides": self.overrides()},
            "options": options,
            "transformations": self.transformations(),
        })
    }

    fn target(&self, target: &Target, reference: &str) -> Value {
        let is_instant = matches!(self.kind, Kind::Bars | Kind::Table);
        json!({
            "refId": reference,
            "datasource": datasource(),
            "expr": on_board(&target.query),
            "legendFormat": target.legend,
            "instant": is_instant,
            "range": !is_instant,
            "format": if self.kind == Kind::Table { "table" } else { "time_series" },
        })
    }

    /// Grafana's name of the kind of panel, and its options.
    fn drawn(&self) -> (&'static str, Value) {
        let last = json!({"calcs": ["lastNotNull"], "fields": "", "values": false});
        match self.kind {
            Kind::Lines | Kind::Stacked => {
                let legend =
                    json!({"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []});
                let sort = if self.kind == Kind::Stacked { "none" } else { "desc" };
                let tooltip = json!({"mode": "multi", "sort": sort});
                ("timeseries", json!({"legend": legend, "tooltip": tooltip}))
            }
            Kind::Number => (
                "stat",
                json!({
                    "reduceOptions": last, "colorMode": "value", "graphMode": "area", "justifyMode": "auto",
                    "orientation": "auto", "textMode": "auto", "wideLayout": true,
                    "showPercentChange": false, "percentChangeColorMode": "standard",
                }),
            ),
            Kind::Bars => (
                "bargauge",
                json!({
                    "reduceOptions": last, "displayMode": "basic", "orientation": "horizontal", "valueMode": "color",
                    "namePlacement": "auto", "showUnfilled": true, "sizing": "auto", "minVizWidth": 8,
                    "minVizHeight": 16, "maxVizHeight": 40,
                    "legend": {"showLegend": false, "displayMode": "hidden", "placement": "bottom", "calcs": []},
                }),
            ),
            Kind::Table => ("table", json!({"showHeader": true, "cellHeight": "sm", "frameIndex": 0})),
        }
    }

    fn field(&self) -> Value {
        let steps: Vec<Value> =
            self.steps.iter().map(|(value, color)| json!({"value": value, "color": color})).collect();
        let thresholds = json!({"mode": "absolute", "steps": steps});
        let is_plot = matches!(self.kind, Kind::Lines | Kind::Stacked);
        if !is_plot {
            let (mode, least) =
                if self.kind == Kind::Bars { ("palette-classic", Some(0)) } else { ("thresholds", None) };
            let color = json!({"mode": mode});
            let field = [
                ("unit", json!(self.unit)),
                ("color", color),
                ("thresholds", thresholds),
                ("mappings", json!([])),
            ];
            let least = least.map(|least| ("min", json!(least)));
            return field.into_iter().chain(least).map(|(key, value)| (key.to_owned(), value)).collect();
        }
        let (fill, stacking) = if self.kind == Kind::Stacked { (60, "normal") } else { (8, "none") };
        // A line across the plot where a colour begins.
        let style = if self.steps.len() > 1 { "dashed" } else { "off" };
        json!({
            "unit": self.unit,
            "min": 0,
            "color": {"mode": "palette-classic"},
            "thresholds": thresholds,
            "mappings": [],
            "custom": {
                "drawStyle": "line", "lineInterpolation": "linear", "lineWidth": 1, "fillOpacity": fill,
                "gradientMode": "none", "showPoints": "never", "pointSize": 4, "spanNulls": false,
                "stacking": {"mode": stacking, "group": "A"},
                "axisPlacement": "auto", "axisLabel": "", "axisColorMode": "text", "axisBorderShow": false,
                "axisCenteredZero": false, "scaleDistribution": {"type": "linear"},
                "thresholdsStyle": {"mode": style}, "insertNulls": false, "barAlignment": 0,
                "hideFrom": {"legend": false, "tooltip": false, "viz": false},
            },
        })
    }

    fn overrides(&self) -> Vec<Value> {
        let colours = self.colours.iter().map(|(legend, colour)| {
            json!({
                "matcher": {"id": "byName", "options": legend},
                "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
            })
        });
        let units = self.columns().filter(|(column, _)| column.ends_with(')')).map(|(column, _)| {
            let unit = column.rsplit_once('(').map_or("", |(_, unit)| unit.trim_end_matches(')'));
            json!({"matcher": {"id": "byName", "options": column}, "properties": [{"id": "unit", "value": unit}]})
        });
        colours.chain(units).collect()
    }

    /// The columns of a table, in order.
    fn columns(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let is_table = self.kind == Kind::Table;
        self.targets.iter().zip(REFERENCES).filter(move |_| is_table).map(|(target, id)| (target.legend, id))
    }

    /// A table's columns are put together, named, and put in order; what is no column is left out.
    fn transformations(&self) -> Vec<Value> {
        if self.kind != Kind::Table {
            return Vec::new();
        }
        let value = |reference: &str| format!("Value #{reference}");
        let renamed = self.columns().map(|(column, reference)| (value(reference), json!(column)));
        let names: Value = [("instance".to_owned(), json!("node"))].into_iter().chain(renamed).collect();
        let placed = self.columns().zip(1..).map(|((_, reference), place)| (value(reference), json!(place)));
        let order: Value = [("instance".to_owned(), json!(0))].into_iter().chain(placed).collect();
        vec![
            json!({"id": "merge", "options": {}}),
            json!({
                "id": "organize",
                "options": {"excludeByName": {"Time": true, "job": true, "__name__": true}, "indexByName": order, "renameByName": names},
            }),
        ]
    }
}

/// Names of a panel's queries.
const REFERENCES: [&str; 8] = ["A", "B", "C", "D", "E", "F", "G", "H"];

/// The board's own choice of a Prometheus.
fn datasource() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

impl Board {
    /// Never changes, so that links and provisioning keep finding it.
    #[must_use]
    pub fn uid(&self) -> String {
        format!("tollgate-{}", self.file)
    }

    /// Every panel, in order.
    pub fn panels(&self) -> impl Iterator<Item = &Panel> {
        self.rows.iter().flat_map(|(_, panels)| panels)
    }

    /// The file that Grafana loads, with links to all of `boards` but itself.
    #[must_use]
    pub fn json(&self, boards: &[Self]) -> String {
        let links: Vec<Value> = boards.iter().filter(|other| other.file != self.file).map(link).collect();
        let board = json!({
            "uid": self.uid(),
            "title": self.title,
            "description": self.description,
            "tags": ["tollgate"],
            "schemaVersion": 39,
            "version": 1,
            "editable": true,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": "now-1h", "to": "now"},
            "timepicker": {},
            "timezone": "browser",
            "fiscalYearStartMonth": 0,
            "weekStart": "",
            "annotations": {"list": []},
            "links": links,
            "templating": {"list": variables()},
            "panels": self.laid_out(),
        });
        format!("{board:#}\n")
    }

    /// The panels in their places: each row from left to right, a heading above it.
    fn laid_out(&self) -> Vec<Value> {
        let mut laid_out = Vec::new();
        let mut ids = 1_u32..;
        let mut id = || ids.next().unwrap_or(0);
        let mut top = 0_u32;
        for (title, panels) in &self.rows {
            laid_out.push(json!({
                "id": id(), "type": "row", "title": title, "collapsed": false, "panels": [],
                "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
            }));
            top = top.saturating_add(1);
            let (mut left, mut tallest) = (0_u32, 0_u32);
            for panel in panels {
                if left.saturating_add(panel.width) > COLUMNS {
                    top = top.saturating_add(tallest);
                    (left, tallest) = (0, 0);
                }
                laid_out.push(panel.json(id(), (left, top)));
                left = left.saturating_add(panel.width);
                tallest = tallest.max(panel.height());
            }
            top = top.saturating_add(tallest);
        }
        laid_out
    }
}

/// Grafana's own.
const COLUMNS: u32 = 24;

fn link(board: &Board) -> Value {
    json!({
        "type": "link", "title": board.title, "url": format!("/d/{}", board.uid()), "icon": "dashboard",
        "tags": [], "asDropdown": false, "includeVars": true, "keepTime": true, "targetBlank": false,
        "tooltip": board.description,
    })
}

/// Which Prometheus, which installation of Tollgate, which of its nodes.
fn variables() -> Value {
    let of_label = |name: &str, label: &str, query: &str| {
        json!({
            "type": "query", "name": name, "label": label, "datasource": datasource(),
            "query": {"query": query, "refId": name}, "definition": query,
            "refresh": 2, "sort": 1, "regex": "", "hide": 0, "skipUrlSync": false,
            "includeAll": true, "multi": true, "allValue": ".*",
            "current": {"text": ["All"], "value": ["$__all"]}, "options": [],
        })
    };
    json!([
        {
            "type": "datasource", "name": "datasource", "label": "Prometheus", "query": "prometheus",
            "refresh": 1, "regex": "", "hide": 0, "skipUrlSync": false, "includeAll": false, "multi": false,
            "current": {}, "options": [],
        },
        of_label("job", "Installation", "label_values(tollgate_build_info, job)"),
        of_label("node", "Node", "label_values(tollgate_build_info{job=~\"$job\"}, instance)"),
    ])
}
