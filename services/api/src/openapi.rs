//! `/openapi.json`: the routes as OpenAPI 3.1, with the bodies' schemas generated from the DTOs.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::dto::{
    AccountView, AppendView, AppliedView, DeadLetterView, EventView, ExplainView, FoundView, ImportView, MemberLine, MemberView, OpportunityView, Page,
    PersonView, PreviewView, RecordLine, ReferenceView, RollbackView, SegmentView, VersionView,
};
use crate::problem::Problem;
use crate::routes::LookUp;

/// One operation of the API.
struct Operation {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    query: &'static [(&'static str, &'static str)],
    /// Content type and schema of the request's body.
    request: Option<(&'static str, Value)>,
    /// Content type and schema of the answer; `None`: 204.
    response: Option<(&'static str, Value)>,
}

const PAGE: &[(&str, &str)] = &[("limit", "1 to 1000, 100 if absent"), ("after", "`next` of the part before")];
const FIND: &[(&str, &str)] = &[
    ("q", "a part of a name, an e-mail address or a source key; letter case does not matter"),
    ("limit", "1 to 1000, 100 if absent"),
    ("after", "`next` of the part before; a part may be empty and name a next one"),
];
const STRICT: &[(&str, &str)] = &[("strict", "`true`: records with fields that no schema knows are refused")];
const EXPLAIN: &[(&str, &str)] = &[
    ("segment", "the segment's name"),
    ("at", "an instant of the past within the retained history, RFC 3339; now if absent"),
];
const CHANGES: &[(&str, &str)] = &[("sample", "how many changes of each audience are shown, 5 if absent")];
const SAMPLE: &[(&str, &str)] = &[("sample", "0 to 100 subjects of each kind, 10 if absent")];
const STREAM: &[(&str, &str)] = &[
    ("from", "`start` (if absent) or `end`"),
    ("follow", "`false`: end when everything that was there has been sent"),
];
const LIMIT: &[(&str, &str)] = &[("limit", "1 to 1000, 100 if absent")];
const REPLACE: &[(&str, &str)] = &[
    ("replace", "`true`: the lines are all members there are"),
    ("allowEmpty", "`true`: with `replace`, there may be no member"),
];
const ROLLBACK: &[(&str, &str)] = &[("to", "the version; the last other one that was in force if absent")];
const NDJSON: &str = "application/x-ndjson";
const JSON: &str = "application/json";

/// The description of the API.
pub fn openapi() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    let mut generator = settings.into_generator();
    let operations = operations(&mut generator);
    let problem = schema::<Problem>(&mut generator);
    let mut paths = Map::new();
    for operation in operations {
        let entry = paths.entry(operation.path).or_insert_with(|| json!({}));
        entry[operation.method] = describe(&operation, &problem);
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Millrace", "version": env!("CARGO_PKG_VERSION"), "description": "Profiles, segments and explanations of a B2B customer data platform."},
        "paths": paths,
        "components": {"schemas": generator.take_definitions(true)},
    })
}

#[expect(clippy::too_many_lines, reason = "one table")]
fn operations(generator: &mut SchemaGenerator) -> Vec<Operation> {
    let read = |path, summary, query, body| Operation {
        method: "get",
        path,
        summary,
        query,
        request: None,
        response: Some((JSON, body)),
    };
    let look_up = |path, summary, asked, body| Operation {
        method: "post",
        path,
        summary,
        query: &[],
        request: Some((JSON, asked)),
        response: Some((JSON, body)),
    };
    let order = |path, summary| Operation {
        method: "post",
        path,
        summary,
        query: &[],
        request: None,
        response: Some((
            JSON,
            json!({"type": "object", "properties": {"name": {"type": "string"}, "paused": {"type": "boolean"}}}),
        )),
    };
    let named = json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]});
    vec![
        read(
            "/v1/persons",
            "Persons by a part of a name or an identity",
            FIND,
            schema::<Page<FoundView>>(generator),
        ),
        read(
            "/v1/accounts",
            "Accounts by a part of a name or an identity",
            FIND,
            schema::<Page<FoundView>>(generator),
        ),
        read(
            "/v1/persons/{id}",
            "A unified person by canonical id, or any `namespace:id`",
            &[],
            schema::<PersonView>(generator),
        ),
        read(
            "/v1/persons/{namespace}/{id}",
            "A unified person by any identity",
            &[],
            schema::<PersonView>(generator),
        ),
        read(
            "/v1/persons/{id}/events",
            "The person's kept events, newest first",
            PAGE,
            schema::<Page<EventView>>(generator),
        ),
        read(
            "/v1/persons/{id}/explain",
            "Why the person is in a segment, or is not",
            EXPLAIN,
            schema::<ExplainView>(generator),
        ),
        look_up(
            "/v1/persons/lookup",
            "A unified person by any identity, which stands in no address",
            schema::<LookUp>(generator),
            schema::<PersonView>(generator),
        ),
        look_up(
            "/v1/persons/lookup/events",
            "The kept events of the person that the body names, newest first",
            schema::<LookUp>(generator),
            schema::<Page<EventView>>(generator),
        ),
        look_up(
            "/v1/persons/lookup/explain",
            "Why the person that the body names is in a segment, or is not",
            schema::<LookUp>(generator),
            schema::<ExplainView>(generator),
        ),
        read(
            "/v1/accounts/{sourceKey}",
            "A unified account by the source key of any of its records",
            &[],
            schema::<AccountView>(generator),
        ),
        read(
            "/v1/accounts/{sourceKey}/persons",
            "The account's persons",
            PAGE,
            schema::<Page<ReferenceView>>(generator),
        ),
        read(
            "/v1/accounts/{sourceKey}/opportunities",
            "The account's deals",
            PAGE,
            schema::<Page<OpportunityView>>(generator),
        ),
        read(
            "/v1/accounts/{sourceKey}/explain",
            "Why the account is in a segment, or is not",
            EXPLAIN,
            schema::<ExplainView>(generator),
        ),
        read("/v1/segments", "All definitions in force", &[], schema::<Vec<SegmentView>>(generator)),
        read("/v1/segments/{name}", "One definition", &[], schema::<SegmentView>(generator)),
        Operation {
            method: "post",
            path: "/v1/segments/preview",
            summary: "What a definition would do if it were published: the exact number, some subjects with reasons, who would enter and leave",
            query: SAMPLE,
            request: Some(("application/yaml", json!({"type": "string"}))),
            response: Some((JSON, schema::<PreviewView>(generator))),
        },
        Operation {
            method: "post",
            path: "/v1/segments",
            summary: "Checks definitions, one document each, and puts all of them in force, or none",
            query: &[],
            request: Some(("application/yaml", json!({"type": "string"}))),
            response: Some((JSON, schema::<AppliedView>(generator))),
        },
        Operation {
            method: "put",
            path: "/v1/segments/{name}",
            summary: "Checks a definition and puts it in force",
            query: &[],
            request: Some(("application/yaml", json!({"type": "string"}))),
            response: None,
        },
        Operation {
            method: "delete",
            path: "/v1/segments/{name}",
            summary: "Takes a definition back; its members exit",
            query: &[],
            request: None,
            response: None,
        },
        read(
            "/v1/segments/{name}/members",
            "The segment's members",
            PAGE,
            schema::<Page<MemberView>>(generator),
        ),
        read(
            "/v1/segments/{name}/versions",
            "The kept versions of a definition, newest first",
            &[],
            schema::<Vec<VersionView>>(generator),
        ),
        Operation {
            method: "post",
            path: "/v1/segments/{name}/rollback",
            summary: "Puts an earlier version in force again, as a new version",
            query: ROLLBACK,
            request: None,
            response: Some((JSON, schema::<RollbackView>(generator))),
        },
        Operation {
            method: "post",
            path: "/v1/audiences/{name}/members",
            summary: "Brings members into an external audience, one JSON object a line",
            query: REPLACE,
            request: Some((NDJSON, schema::<MemberLine>(generator))),
            response: Some((JSON, schema::<ImportView>(generator))),
        },
        Operation {
            method: "post",
            path: "/v1/records",
            summary: "Appends records to source topics, one JSON object a line",
            query: STRICT,
            request: Some((NDJSON, schema::<RecordLine>(generator))),
            response: Some((JSON, schema::<AppendView>(generator))),
        },
        Operation {
            method: "get",
            path: "/v1/changes",
            summary: "Membership changes as they are committed, one JSON object a line",
            query: STREAM,
            request: None,
            response: Some((NDJSON, json!({"type": "object"}))),
        },
        read(
            "/v1/sources",
            "The sources of this process: state, lag, quota and progress of each",
            &[],
            json!({"type": "object", "properties": {"items": {"type": "array", "items": named}}}),
        ),
        read("/v1/sources/{name}", "One source", &[], named.clone()),
        order("/v1/sources/{name}/pause", "Pauses a source until it is resumed, restarts included"),
        order("/v1/sources/{name}/resume", "Resumes a paused source"),
        read(
            "/v1/destinations",
            "The destinations with a running sink, over all processes: desired, delivered, pending and refused members of each",
            &[],
            json!({"type": "array", "items": named}),
        ),
        read("/v1/destinations/{name}", "One destination", &[], named.clone()),
        Operation {
            method: "post",
            path: "/v1/destinations/{name}/orders",
            summary: "Hands an order to the destination's sink, which carries it out after its present step; answers 202 with the order",
            query: &[],
            request: Some((JSON, json!({"type": "object", "minProperties": 1}))),
            response: Some((JSON, json!({"type": "object"}))),
        },
        read(
            "/v1/destinations/{name}/preview",
            "What the destination's sink would send now, in how many calls, and how long they take under the destination's limits; sends nothing",
            CHANGES,
            named.clone(),
        ),
        read(
            "/v1/dead-letters",
            "The newest records nobody could use",
            LIMIT,
            schema::<Vec<DeadLetterView>>(generator),
        ),
    ]
}

fn describe(operation: &Operation, problem: &Value) -> Value {
    let in_path = operation.path.split(['{', '}']).skip(1).step_by(2).map(|name| (name, "path", true, ""));
    let in_query = operation
        .query
        .iter()
        .map(|(name, text)| (*name, "query", matches!(*name, "segment" | "q"), *text));
    let parameters: Vec<Value> = in_path
        .chain(in_query)
        .map(|(name, place, required, text)| json!({"name": name, "in": place, "required": required, "description": text, "schema": {"type": "string"}}))
        .collect();
    let (status, answer) = match &operation.response {
        Some((kind, schema)) => ("200", json!({"description": "done", "content": {*kind: {"schema": schema}}})),
        None => ("204", json!({"description": "done"})),
    };
    let mut described = json!({
        "summary": operation.summary,
        "parameters": parameters,
        "responses": {
            status: answer,
            "default": {"description": "a problem (RFC 9457)", "content": {"application/problem+json": {"schema": problem}}},
        },
    });
    if let Some((kind, schema)) = &operation.request {
        described["requestBody"] = json!({"required": true, "content": {*kind: {"schema": schema}}});
    }
    described
}

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}
