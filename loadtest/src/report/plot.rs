//! A plot as SVG: axes, lines, areas, and what is told under the pointer. It knows nothing of load tests. Colours are the
//! page's, by class; without any script the figures still show under the pointer.

use maud::{Markup, html};

/// Room for the figures of the left axis, and for the line above that tells what is under the pointer.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 38.0;

/// The shape of a plot, in the units of its picture.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Size {
    /// Over the whole width of the page.
    pub(super) const WIDE: Self = Self { width: 900.0, height: 250.0 };
    /// Two beside each other.
    pub(super) const HALF: Self = Self { width: 440.0, height: 270.0 };
    /// Three beside each other.
    pub(super) const THIRD: Self = Self { width: 290.0, height: 190.0 };
}

/// A range of values, and where to write which.
pub(super) struct Axis {
    pub(super) title: String,
    low: f64,
    high: f64,
    is_log: bool,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From nothing to `high` or the next round value; `steps` at most.
    pub(super) fn from_zero(title: &str, high: f64, steps: f64, words: impl Fn(f64) -> String) -> Self {
        let step = round_step(high / steps);
        let high = (high / step).ceil().max(1.0) * step;
        Self::between(title, 0.0, high, step, words)
    }

    /// Between these two and not beyond, with a word at each round value.
    pub(super) fn between(
        title: &str,
        low: f64,
        high: f64,
        step: f64,
        words: impl Fn(f64) -> String,
    ) -> Self {
        let mut ticks = Vec::new();
        let mut value = (low / step).ceil() * step;
        while value <= high + step * 1e-9 {
            ticks.push((value, words(value)));
            value += step;
        }
        Self { title: title.to_owned(), low, high, is_log: false, ticks }
    }

    /// From `low` to `high`, both above 0, as powers of ten, with these words.
    pub(super) fn log(title: &str, low: f64, high: f64, ticks: Vec<(f64, String)>) -> Self {
        let ticks = ticks.into_iter().filter(|(value, _)| (low..=high).contains(value)).collect();
        Self { title: title.to_owned(), low, high, is_log: true, ticks }
    }

    /// Where a value is, from 0 to 1; what is beyond the ends is at the end.
    fn part(&self, value: f64) -> f64 {
        let place = |value: f64| if self.is_log { value.max(f64::MIN_POSITIVE).ln() } else { value };
        let span = place(self.high) - place(self.low);
        if span > 0.0 { ((place(value) - place(self.low)) / span).clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// A round value near this one, so that a reader can count in it.
pub(super) fn round_step(near: f64) -> f64 {
    if !near.is_finite() || near <= 0.0 {
        return 1.0;
    }
    let power = 10.0_f64.powf(near.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0].into_iter().find(|step| near <= step * power * (1.0 + 1e-9));
    step.unwrap_or(10.0) * power
}

/// Two axes and a place on the page. What is drawn on it is given as markup, from its own methods.
pub(super) struct Plot {
    pub(super) size: Size,
    pub(super) x: Axis,
    pub(super) y: Axis,
}

impl Plot {
    /// Where a value of the lower axis is.
    pub(super) fn at_x(&self, value: f64) -> f64 {
        LEFT + self.x.part(value) * (self.size.width - LEFT - RIGHT)
    }

    /// Where a value of the left axis is. Small values are below, which is where a picture's own are large.
    pub(super) fn at_y(&self, value: f64) -> f64 {
        self.bottom() - self.y.part(value) * (self.bottom() - TOP)
    }

    fn bottom(&self) -> f64 {
        self.size.height - BOTTOM
    }

    /// The picture: the grid, then `drawing` over it. `told` says in words what it shows, for those who cannot see it.
    pub(super) fn draw(&self, told: &str, drawing: &Markup) -> Markup {
        let (right, bottom) = (self.size.width - RIGHT, self.bottom());
        html! {
            svg viewBox={ "0 0 " (self.size.width) " " (self.size.height) } role="img" aria-label=(told) {
                g.grid {
                    @for (value, words) in &self.y.ticks {
                        @let y = self.at_y(*value);
                        line x1=(px(LEFT)) x2=(px(right)) y1=(px(y)) y2=(px(y)) {}
                        text.end x=(px(LEFT - 8.0)) y=(px(y + 4.0)) { (words) }
                    }
                    @for (value, words) in &self.x.ticks {
                        @let x = self.at_x(*value);
                        line.tick x1=(px(x)) x2=(px(x)) y1=(px(bottom)) y2=(px(bottom + 4.0)) {}
                        text.middle x=(px(x)) y=(px(bottom + 17.0)) { (words) }
                    }
                    line.base x1=(px(LEFT)) x2=(px(right)) y1=(px(bottom)) y2=(px(bottom)) {}
                }
                text.title x=(px(LEFT)) y="12" { (self.y.title) }
                text.title.end x=(px(right)) y=(px(bottom + 33.0)) { (self.x.title) }
                (drawing)
            }
        }
    }

    /// A line through these points.
    pub(super) fn line(&self, class: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Markup {
        html! { path class={ "line " (class) } d=(self.path(points)) {} }
    }

    /// What lies between these points and the lower axis.
    pub(super) fn area(&self, class: &str, points: &[(f64, f64)]) -> Markup {
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return html! {} };
        let bottom = px(self.bottom());
        let path = self.path(points.iter().copied());
        html! {
            path class={ "area " (class) }
                d={ (path) "L" (px(self.at_x(last.0))) " " (bottom) "L" (px(self.at_x(first.0))) " " (bottom) "Z" } {}
        }
    }

    /// What lies between two lines over the same places: each is where, low and high.
    pub(super) fn band(&self, class: &str, points: &[(f64, f64, f64)]) -> Markup {
        if points.is_empty() {
            return html! {};
        }
        let there = points.iter().map(|(x, _, high)| (*x, *high));
        let back = points.iter().rev().map(|(x, low, _)| (*x, *low));
        html! { path class={ "band " (class) } d={ (self.path(there.chain(back))) "Z" } {} }
    }

    /// A dot at each of these points.
    pub(super) fn dots(&self, class: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Markup {
        html! {
            @for (x, y) in points {
                circle class={ "dot " (class) } cx=(px(self.at_x(x))) cy=(px(self.at_y(y))) r="3.5" {}
            }
        }
    }

    /// A line at one value of the left axis, with its words at the right end, above it or below; nothing where the axis
    /// does not reach it.
    pub(super) fn level(&self, class: &str, value: f64, words: &str, is_above: bool) -> Markup {
        let right = self.size.width - RIGHT;
        html! {
            @if (self.y.low..=self.y.high).contains(&value) {
                @let y = self.at_y(value);
                line class={ "level " (class) } x1=(px(LEFT)) x2=(px(right)) y1=(px(y)) y2=(px(y)) {}
                text class={ "level end " (class) } x=(px(right - 4.0)) y=(px(if is_above { y - 4.0 } else { y + 12.0 })) { (words) }
            }
        }
    }

    /// A line at one value of the lower axis, with words beside its upper end.
    pub(super) fn moment(&self, class: &str, value: f64, words: &str) -> Markup {
        let x = self.at_x(value);
        let is_far = self.x.part(value) > 0.85;
        let (anchor, side) = if is_far { ("end", -5.0) } else { ("start", 5.0) };
        html! {
            line class={ "moment " (class) } x1=(px(x)) x2=(px(x)) y1=(px(TOP)) y2=(px(self.bottom())) {}
            text class={ "moment " (anchor) " " (class) } x=(px(x + side)) y=(px(TOP + 10.0)) { (words) }
        }
    }

    /// A box from one corner to the other.
    pub(super) fn cell(&self, class: &str, (left, right): (f64, f64), (low, high): (f64, f64)) -> Markup {
        let (x, y) = (self.at_x(left), self.at_y(high));
        html! {
            rect class=(class) x=(px(x)) y=(px(y)) width=(px(self.at_x(right) - x)) height=(px(self.at_y(low) - y)) {}
        }
    }

    /// Columns that tell their words above the plot while the pointer is on them.
    pub(super) fn told_at(&self, columns: impl IntoIterator<Item = (f64, f64, String)>) -> Markup {
        html! {
            g.told {
                @for (from, to, words) in columns {
                    @let x = self.at_x(from);
                    g {
                        rect x=(px(x)) y=(px(TOP)) width=(px(self.at_x(to) - x)) height=(px(self.bottom() - TOP)) {}
                        text.end x=(px(self.size.width - RIGHT)) y="12" { (words) }
                    }
                }
            }
        }
    }

    fn path(&self, points: impl IntoIterator<Item = (f64, f64)>) -> String {
        let mut path = String::new();
        for (x, y) in points {
            path.push(if path.is_empty() { 'M' } else { 'L' });
            path.push_str(&px(self.at_x(x)));
            path.push(' ');
            path.push_str(&px(self.at_y(y)));
        }
        path
    }
}

/// A tenth of a unit is finer than any screen.
fn px(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_a_round_value() {
        let check = |high: f64, expected: &[&str]| {
            let axis = Axis::from_zero("", high, 5.0, |value| format!("{value}"));
            let words: Vec<&str> = axis.ticks.iter().map(|(_, words)| words.as_str()).collect();
            assert_eq!(words, expected, "up to {high}");
            assert!(axis.high >= high, "{high} is beyond the end");
        };
        check(0.0, &["0", "1"]);
        check(1.0, &["0", "0.2", "0.4", "0.6000000000000001", "0.8", "1"]);
        check(1_040.0, &["0", "250", "500", "750", "1000", "1250"]);
        check(12_000.0, &["0", "2500", "5000", "7500", "10000", "12500"]);
        check(100.0, &["0", "20", "40", "60", "80", "100"]);
    }

    #[test]
    fn values_are_in_the_picture_wherever_they_are() {
        let plot = Plot {
            size: Size::WIDE,
            x: Axis::between("", 0.0, 30.0, 5.0, |value| value.to_string()),
            y: Axis::log("", 100.0, 1e6, vec![(1e3, "1 ms".to_owned()), (1e7, "10 s".to_owned())]),
        };
        assert_eq!(plot.y.ticks.len(), 1, "a word beyond the end is not written");
        for value in [f64::MIN, -1.0, 0.0, 5.0, 1e5, f64::MAX, f64::INFINITY] {
            assert!((LEFT..=Size::WIDE.width - RIGHT).contains(&plot.at_x(value)), "{value}");
            assert!((TOP..=Size::WIDE.height - BOTTOM).contains(&plot.at_y(value)), "{value}");
        }
        let middle = f64::midpoint(plot.at_y(100.0), plot.at_y(1e6));
        assert!((plot.at_y(1e4) - middle).abs() < 1e-6, "10 ms is half-way between 100 us and 1 s");
    }
}
