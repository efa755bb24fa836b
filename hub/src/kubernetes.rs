//! What the API server refuses, said in the words of the hub's own requests. Pure.

use axum::http::StatusCode;
use fateh_common::service::error::{ApiError, UNAVAILABLE};
use kube::core::Status;

/// Fields of a LocalNode and of a ContentDistribution by their path, the field of a request that they come from, and what would be accepted.
const FIELDS: [(&str, &str, &str); 14] = [
    ("metadata.name", "slug", "field-slug"),
    ("spec.displayName", "name", "field-node-name"),
    ("spec.region", "region", "field-region"),
    ("spec.country", "country", "field-country"),
    ("spec.language", "language", "field-language"),
    ("spec.currency", "currency", "field-node-currency"),
    ("spec.timezone", "timezone", "field-timezone"),
    ("spec.adminEmail", "adminEmail", "field-email"),
    ("spec.state", "state", "field-node-state"),
    ("spec.settings", "settings", "field-settings"),
    ("spec.content.version", "version", "field-version"),
    ("spec.targets", "targetNodes", "field-target-nodes"),
    ("spec.rollout", "rollout", "field-rollout"),
    ("spec", "spec", "field-spec"),
];

/// The refusal of a request whose write the API server did not carry out.
pub fn refusal(error: kube::Error) -> ApiError {
    match error {
        kube::Error::Api(status) => of_status(&status),
        error => {
            tracing::warn!(%error, "the API server cannot be reached");
            UNAVAILABLE
        }
    }
}

fn of_status(status: &Status) -> ApiError {
    match status.code {
        404 => fateh_common::service::error::NOT_FOUND,
        409 => conflict(status),
        400 | 422 => invalid(status),
        // So the API server answers an apply with a field that the schema does not know.
        500 if status.message.starts_with("failed to create typed patch object") => ApiError::Invalid(Vec::new()),
        403 => {
            // Another's policy, or ours that was changed: people at the cluster must look.
            tracing::warn!(message = status.message, "the API server forbids a write of the hub");
            ApiError::Refused(StatusCode::FORBIDDEN, "cluster-forbids")
        }
        _ => {
            tracing::warn!(code = status.code, message = status.message, "the API server failed a request");
            UNAVAILABLE
        }
    }
}

fn causes(status: &Status) -> impl Iterator<Item = (&str, &str, &str)> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.map(|cause| (cause.reason.as_str(), cause.field.trim_start_matches('.'), cause.message.as_str()))
}

/// A field that another manager owns, and who that is; or a change at the same moment.
fn conflict(status: &Status) -> ApiError {
    let owned: Vec<_> = causes(status).filter(|(reason, ..)| *reason == "FieldManagerConflict").collect();
    // `conflict with "argocd-controller" using fateh-platform.com/v1alpha1`
    let manager = |message: &str| message.split('"').nth(1).unwrap_or_default().to_owned();
    let Some((_, _, message)) = owned.first() else {
        return ApiError::Refused(StatusCode::CONFLICT, "changed-meanwhile");
    };
    let fields = owned.iter().map(|(_, field, _)| request_field(field).0).collect::<Vec<_>>().join(", ");
    let named = vec![("manager", manager(message)), ("fields", fields)];
    ApiError::Because(StatusCode::CONFLICT, "field-owned", named)
}

fn invalid(status: &Status) -> ApiError {
    let mut fields: Vec<_> = causes(status).map(|(_, field, _)| request_field(field)).collect();
    fields.dedup();
    ApiError::Invalid(fields)
}

fn request_field(path: &str) -> (&'static str, &'static str) {
    let found = FIELDS.iter().find(|(known, ..)| {
        path.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    });
    found.map_or(("spec", "field-spec"), |(_, field, key)| (*field, *key))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(code: u16, causes: serde_json::Value) -> Status {
        serde_json::from_value(json!({"code": code, "message": "", "reason": "", "details": {"causes": causes}}))
            .unwrap()
    }

    #[test]
    fn a_field_that_another_owns_is_named_with_its_owner() {
        let causes = json!([
            {"reason": "FieldManagerConflict", "message": "conflict with \"argocd\" using fateh-platform.com/v1alpha1", "field": ".spec.region"},
            {"reason": "FieldManagerConflict", "message": "conflict with \"argocd\" using fateh-platform.com/v1alpha1", "field": ".spec.settings.theme"},
        ]);
        let ApiError::Because(code, word, named) = of_status(&status(409, causes)) else { panic!("no reason") };
        assert_eq!((code.as_u16(), word), (409, "field-owned"));
        assert_eq!(named, [("manager", "argocd".to_owned()), ("fields", "region, settings".to_owned())]);
        let passing = of_status(&status(409, json!([])));
        assert!(matches!(passing, ApiError::Refused(_, "changed-meanwhile")), "{passing:?}");
    }

    #[test]
    fn a_refusal_names_the_fields_of_the_request() {
        let causes = json!([{"reason": "FieldValueInvalid", "message": "…", "field": "spec.language"},
            {"reason": "FieldValueInvalid", "message": "…", "field": "metadata.name"},
            {"reason": "FieldValueInvalid", "message": "…", "field": "spec.runtime.image"}]);
        let ApiError::Invalid(fields) = of_status(&status(422, causes)) else { panic!("no fields") };
        assert_eq!(fields.iter().map(|(field, _)| *field).collect::<Vec<_>>(), ["language", "slug", "spec"]);
        let mut unknown = status(500, json!([]));
        unknown.message = "failed to create typed patch object (x): .spec.y: field not declared in schema".into();
        assert!(matches!(of_status(&unknown), ApiError::Invalid(fields) if fields.is_empty()));
        assert!(!matches!(of_status(&status(500, json!([]))), ApiError::Invalid(_)));
    }
}
