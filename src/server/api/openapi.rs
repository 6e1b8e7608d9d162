//! The OpenAPI document, made from [`super::ENDPOINTS`].

use axum::Json;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::{ENDPOINTS, Endpoint, Problem};

/// The document that describes `/api/v1`. `schemas/openapi.json` is this, and served.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
    });
    let mut schemas = settings.into_generator();
    let problem = schemas.subschema_for::<Problem>();
    let paths: Map<String, Value> = ENDPOINTS
        .iter()
        .map(|endpoint| {
            let described = describe(endpoint, &mut schemas, &json!(problem));
            (endpoint.path.to_owned(), json!({ "get": described }))
        })
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "lagline",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Lag, status and history of Kafka consumer groups. Times are Unix \
                            milliseconds (_ms), durations seconds (_s). What is unknown is null.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
        "security": [{}, { "token": [] }],
    })
}

fn describe(endpoint: &Endpoint, schemas: &mut SchemaGenerator, problem: &Value) -> Value {
    let in_path = endpoint.path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        let schema = json!({ "type": "string" });
        Some(json!({ "name": name, "in": "path", "required": true, "schema": schema }))
    });
    let in_query = endpoint.parameters.iter().map(|it| it.describe());
    let parameters: Vec<Value> = in_path.chain(in_query).collect();
    let kind = match endpoint.path {
        "/api/v1/stream" => "text/event-stream",
        _ => "application/json",
    };
    let answer = (endpoint.answer)(schemas);
    let refused = |why: &str| {
        json!({
            "description": why,
            "content": { "application/json": { "schema": problem } },
        })
    };
    let mut responses = json!({
        "200": { "description": "The answer.", "content": { kind: { "schema": answer } } },
        "400": refused("A parameter cannot be used: which, and what is allowed."),
        "401": { "description": "A bearer token is needed." },
    });
    if endpoint.path.contains('{') {
        responses["404"] = refused("There is no such cluster, group or topic.");
    }
    if matches!(endpoint.path, "/api/v1/history" | "/api/v1/events") {
        responses["503"] = refused("Too many questions, or the store cannot be read.");
        responses["504"] = refused("It takes too long: ask for less.");
    }
    json!({
        "summary": endpoint.about,
        "parameters": parameters,
        "responses": responses,
    })
}

/// `GET /api/v1/openapi.json`
pub(super) async fn served() -> Json<Value> {
    Json(document())
}
