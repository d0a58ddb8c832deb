//! Finding the route of a request in the table.

use super::{BUDGET, OF_BUDGETS, ROUTES, Route};

/// What is at a path.
pub(in crate::http) enum Found<'a> {
    /// A route, with the parameter in the path.
    Route(&'static Route, &'a str),
    /// Routes of other methods: those that there are.
    OtherMethod(&'static str),
    /// Nothing.
    Nothing,
}

/// Finds the route of a request. A HEAD is a GET.
pub(in crate::http) fn find<'a>(method: &str, path: &'a str) -> Found<'a> {
    let method = if method == "HEAD" { "GET" } else { method };
    let mut others = None;
    for route in &ROUTES {
        let Some(parameter) = parameter_of(route, path) else { continue };
        if route.method == method {
            return Found::Route(route, parameter);
        }
        others = Some(path);
    }
    others.map_or(Found::Nothing, |path| Found::OtherMethod(allowed(path)))
}

/// The methods of a path, as `Allow` has them.
fn allowed(path: &str) -> &'static str {
    let has = |method: &str| {
        ROUTES.iter().any(|route| route.method == method && parameter_of(route, path).is_some())
    };
    match (has("GET"), has("PUT"), has("POST")) {
        (true, true, _) => "GET, HEAD, PUT",
        (false, true, _) => "PUT",
        (false, _, true) => "POST",
        (true, ..) | (false, false, false) => "GET, HEAD",
    }
}

/// The last segment of `path`, if it is the route's: empty where the route's path has no parameter.
fn parameter_of<'a>(route: &Route, path: &'a str) -> Option<&'a str> {
    match route.path.split_once('{') {
        None => (path == route.path).then_some(""),
        Some((start, rest)) => {
            let (name, end) = rest.split_once('}')?;
            let parameter = path.strip_prefix(start)?.strip_suffix(end)?;
            let segments_max = if name == BUDGET { 2 } else { 1 };
            let segments = parameter.split('/').count();
            let is_whole =
                segments <= segments_max && parameter.split('/').all(|segment| !segment.is_empty());
            // What ends a longer route is no key of a budget.
            let is_longer = end.is_empty()
                && name == BUDGET
                && OF_BUDGETS.iter().any(|word| parameter.ends_with(&format!("/{word}")));
            (is_whole && !is_longer || segments == 1 && parameter.is_empty() && name != BUDGET)
                .then_some(parameter)
        }
    }
}
