//! What the services that people reach share: answers in the envelope and their languages, limits, metrics, what is
//! mounted, and how to serve and end.

mod admission;
pub mod client_address;
pub mod database;
mod deadline;
pub mod error;
pub mod extract;
pub mod files;
pub mod keys;
pub mod layers;
pub mod metrics;
pub mod openapi;
pub mod paging;
pub mod permissions;
pub mod serve;
pub mod validation;
pub mod words;
