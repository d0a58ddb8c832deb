//! The documentation of the admin API, from the routes and the types of their bodies: as an OpenAPI document, and as a page.

#![allow(
    clippy::indexing_slicing,
    reason = "a JSON value gives null for what it lacks, and an object takes what is new"
)]

use std::fmt::Write as _;

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    parameters::{Kind, Parameter},
    routes::{self, Call, ROUTES, Route, Shape},
};

/// Where schemas are in an OpenAPI document.
const SCHEMAS: &str = "/components/schemas";

/// OpenAPI 3.1, with a line break at its end.
#[must_use]
pub fn openapi() -> String {
    let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
    text.push('\n');
    text
}

fn document() -> Value {
    let mut generator = generator();
    let mut paths: Map<String, Value> = Map::new();
    let problem = json!({"$ref": format!("#{SCHEMAS}/{}", name_of(&routes::error_schema(&mut generator)))});
    for route in &ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Value::Object(methods) = path {
            methods.insert(route.method.to_lowercase(), operation(route, &problem, &mut generator));
        }
    }
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tollgate admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": ABOUT,
        },
        "servers": [{"url": "http://127.0.0.1:9464", "description": "TOLLGATE_ADMIN_LISTEN"}],
        "security": [{"token": []}, {}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "TOLLGATE_ADMIN_TOKEN, or a token of TOLLGATE_ADMIN_TOKENS_FILE. The roles, from the one that may do least: viewer, support, operator, admin"},
            },
        },
    })
}

const ABOUT: &str = "Read what a node decided, and what it knows. Amounts are integers in minor units; currencies are lower case; times are RFC 3339 in UTC. With TOLLGATE_ADMIN_TOKEN or TOLLGATE_ADMIN_TOKENS_FILE set, requests under /v1 need the header `Authorization: Bearer TOKEN`, and a token needs the role that is stated, or a higher one: viewer, support, operator, admin. A change needs a reason, as the header `Tollgate-Reason` or as `reason` in a JSON body; it is recorded with the name of the token. An error is an object `error` with a `code` for programs and a `message` for people.";

fn generator() -> SchemaGenerator {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    settings.with(|settings| settings.definitions_path = SCHEMAS.into()).into_generator()
}

fn operation(route: &Route, problem: &Value, generator: &mut SchemaGenerator) -> Value {
    let problem = |description: &str| json!({"description": description, "content": {"application/json": {"schema": problem}}});
    let content = match route.reply {
        Shape::Json(schema) => json!({"application/json": {"schema": schema(generator)}}),
        Shape::Document => json!({"application/json": {"schema": {"type": "object"}}}),
        Shape::Prometheus => json!({"text/plain": {"schema": {"type": "string"}}}),
    };
    let mut responses = json!({"200": {"description": "OK", "content": content}});
    let mut parameters: Vec<Value> = Vec::new();
    if let Some(name) = path_parameter(route) {
        responses["404"] = problem("Nothing with this id was seen here");
        parameters.push(json!({
            "name": name, "in": "path", "required": true, "description": route.path_parameter,
            "schema": {"type": "string"},
        }));
    }
    if !route.parameters.is_empty() || route.body.is_some() {
        responses["400"] = problem("A parameter or the body is wrong");
    }
    if route.path.starts_with("/v1/") {
        responses["401"] = problem("The token is missing or wrong");
        responses["403"] = problem("The token has a lower role than this needs");
        responses["503"] = problem("The node is starting, or the journal cannot be read now");
    }
    parameters.extend(route.parameters.iter().map(|parameter| {
        json!({
            "name": parameter.name, "in": "query", "description": parameter.about,
            "schema": value_schema(parameter.kind),
        })
    }));
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "description": route.about,
        "responses": responses,
    });
    if !parameters.is_empty() {
        operation["parameters"] = Value::Array(parameters);
    }
    if let Some(body) = &route.body {
        let kind = if body.media_type == "application/json" { "object" } else { "string" };
        let schema = json!({"type": kind});
        operation["requestBody"] = json!({
            "required": true, "description": body.about, "content": {body.media_type: {"schema": schema}},
        });
    }
    operation["security"] = match route.role {
        Some(role) => json!([{"token": [role.as_str()]}, {}]),
        None => json!([{}]),
    };
    operation
}

/// The name of an operation. What can be done to a card and to a budget has two.
fn operation_id(route: &Route) -> String {
    match route.call {
        Call::Operate(operate) if route.path.starts_with("/v1/cards/") => format!("{operate:?}Card"),
        Call::Operate(operate) => format!("{operate:?}Budget"),
        call => format!("{call:?}"),
    }
}

/// The name of the parameter in the path.
fn path_parameter(route: &Route) -> Option<&'static str> {
    route.path.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(name, _)| name)
}

fn value_schema(kind: Kind) -> Value {
    match kind {
        Kind::Word(words) => json!({"type": "string", "enum": words()}),
        Kind::Id | Kind::Text | Kind::Time | Kind::Cursor | Kind::CursorOrNow => json!({"type": "string"}),
        Kind::Number(least, most) => json!({"type": "integer", "minimum": least, "maximum": most}),
    }
}

/// The page `docs/admin-api.md`.
#[must_use]
pub fn admin_api_page() -> String {
    let document = document();
    let mut page = String::from(
        "<!-- generated from the code: run the tests with UPDATE_GENERATED=1 -->\n\n# Admin API\n\n\
         The admin port, `TOLLGATE_ADMIN_LISTEN`, serves this API and the console. The same as an OpenAPI document: \
         [openapi.json](openapi.json), or `/v1/openapi.json` of a running node.\n\n",
    );
    let _ = writeln!(page, "{ABOUT}\n");
    for route in &ROUTES {
        page_of_route(&mut page, route, &document);
    }
    page.push_str("## Bodies\n\nA field that can be null or absent is marked with `?`.\n");
    let schemas = document["components"]["schemas"].as_object();
    for (name, schema) in schemas.into_iter().flatten() {
        page_of_schema(&mut page, name, schema);
    }
    page
}

fn page_of_route(page: &mut String, route: &Route, document: &Value) {
    let Route { method, path, summary, about, path_parameter: of_path, parameters, role, body, .. } = route;
    let _ = write!(page, "## {summary}\n\n`{method} {path}`");
    if let Some(role) = role {
        let _ = write!(page, " · role `{}`", role.as_str());
    }
    let _ = write!(page, "\n\n{about}\n");
    let in_path = path_parameter(route).map(|name| (name, (*of_path).to_owned(), "text".to_owned()));
    let of_query = parameters
        .iter()
        .map(|Parameter { name, kind, about }| (*name, (*about).to_owned(), value_text(*kind)));
    let all: Vec<(&str, String, String)> = in_path.into_iter().chain(of_query).collect();
    if !all.is_empty() {
        page.push_str("\n| parameter | value | meaning |\n|---|---|---|\n");
        for (name, about, value) in all {
            let _ = writeln!(page, "| `{name}` | {value} | {about} |");
        }
    }
    if let Some(body) = body {
        let _ = write!(page, "\nBody: {}, at most {} bytes.\n", body.about, body.bytes_max);
    }
    let pointer =
        format!("/paths/{}/{}/responses/200/content", path.replace('/', "~1"), method.to_lowercase());
    let reply =
        document.pointer(&pointer).and_then(|content| content["application/json"]["schema"]["$ref"].as_str());
    if let Some(name) = reply.and_then(|reference| reference.rsplit('/').next()) {
        let _ = write!(page, "\nReply: [{name}](#{}).\n", name.to_lowercase());
    }
    page.push('\n');
}

fn page_of_schema(page: &mut String, name: &str, schema: &Value) {
    let _ = write!(page, "\n### {name}\n");
    if let Some(about) = schema["description"].as_str() {
        let _ = write!(page, "\n{}\n", one_line(about));
    }
    let mut fields: Vec<(&String, &Value, bool)> = Vec::new();
    fields_of(schema, true, &mut fields);
    if fields.is_empty() {
        return;
    }
    page.push_str("\n| field | type | meaning |\n|---|---|---|\n");
    for (field, schema, is_required) in fields {
        let (text, can_be_null) = type_text(schema);
        let mark = if is_required && !can_be_null { "" } else { "?" };
        let about = schema["description"].as_str().map(one_line).unwrap_or_default();
        let _ = writeln!(page, "| `{field}`{mark} | {text} | {about} |");
    }
}

/// The fields of an object, with those that it takes in from others.
fn fields_of<'a>(schema: &'a Value, is_there: bool, fields: &mut Vec<(&'a String, &'a Value, bool)>) {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        if !fields.iter().any(|(known, _, _)| *known == name) {
            fields.push((name, field, is_there && required.contains(&name.as_str())));
        }
    }
    for part in ["anyOf", "allOf", "oneOf"] {
        for inner in schema[part].as_array().into_iter().flatten() {
            fields_of(inner, false, fields);
        }
    }
}

/// A type for people, and whether it may be null.
fn type_text(schema: &Value) -> (String, bool) {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return (format!("[{name}](#{})", name.to_lowercase()), false);
    }
    if let Some(either) = schema["anyOf"].as_array() {
        let texts = either.iter().map(type_text);
        let (null, rest): (Vec<_>, Vec<_>) = texts.partition(|(text, _)| text == "null");
        let rest: Vec<String> = rest.into_iter().map(|(text, _)| text).collect();
        return (rest.join(" or "), !null.is_empty());
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    };
    let can_be_null = types.contains(&"null") && types.len() > 1;
    let name = types.iter().find(|name| **name != "null" || types.len() == 1).copied().unwrap_or("any");
    let text = match name {
        "array" => format!("list of {}", type_text(&schema["items"]).0),
        "string" if schema["format"] == "date-time" => "time".to_owned(),
        "string" => "text".to_owned(),
        other => other.to_owned(),
    };
    (text, can_be_null)
}

fn value_text(kind: Kind) -> String {
    match kind {
        Kind::Word(words) => words().iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Kind::Id => "an id".to_owned(),
        Kind::Text => "text".to_owned(),
        Kind::Time => "`2026-11-22T10:00:00Z`, or an age such as `24h` or `7d`".to_owned(),
        Kind::Number(least, most) => format!("{least} to {most}"),
        Kind::Cursor => "`next` of a reply".to_owned(),
        Kind::CursorOrNow => "`now`, or `next` of a reply".to_owned(),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// The name at the end of a schema that is a reference.
fn name_of(schema: &schemars::Schema) -> String {
    let reference = schema.get("$ref").and_then(Value::as_str).unwrap_or_default();
    reference.rsplit('/').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_of_the_document_has_its_schema() {
        let document = document();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let text = document.to_string();
        let references: Vec<&str> =
            text.split("#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        assert!(references.len() > 20, "only {references:?}");
        for reference in references {
            assert!(schemas.contains_key(reference), "{reference}");
        }
    }

    #[test]
    fn every_field_has_a_meaning() {
        let document = document();
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            let mut fields = Vec::new();
            fields_of(schema, true, &mut fields);
            assert!(!fields.is_empty(), "{name}");
            for (field, schema, _) in fields {
                assert!(schema["description"].is_string() || schema["$ref"].is_string(), "{name}.{field}");
            }
        }
    }
}
