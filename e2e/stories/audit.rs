//! What the API server's audit log has of the operator.

use fateh_tests::variable;
use serde_json::Value;

/// Everything that ServiceAccounts have written so far, as the API server's audit log has it.
pub fn audit_log() -> Vec<Value> {
    let log = std::fs::read_to_string(variable("FATEH_AUDIT")).unwrap();
    log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
