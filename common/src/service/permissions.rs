//! Permissions in the signatures of handlers: a handler that takes a [`May`] is never reached by one who may not.

use std::marker::PhantomData;

use axum::{extract::FromRequestParts, http::request::Parts};

use super::error::{FORBIDDEN, Failed};
use crate::envelope::Language;

/// Names a permission by a type; [`requires!`](crate::requires) makes them.
pub trait Requires: Send + Sync {
    /// The permissions of the service.
    type Permission;
    /// What is required.
    const PERMISSION: Self::Permission;
}

/// Someone signed in, of whom the service's table says what is allowed.
pub trait Allowed<Permission> {
    /// Whether that is allowed.
    fn may(&self, permission: Permission) -> bool;
}

/// Someone signed in who may do what `P` names.
pub struct May<U, P> {
    /// Who it is.
    pub user: U,
    permission: PhantomData<P>,
}

impl<S, U, P> FromRequestParts<S> for May<U, P>
where
    S: Send + Sync,
    P: Requires,
    U: FromRequestParts<S, Rejection = Failed> + Allowed<P::Permission>,
{
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let user = U::from_request_parts(parts, state).await?;
        if user.may(P::PERMISSION) {
            Ok(Self { user, permission: PhantomData })
        } else {
            Err(Failed(FORBIDDEN, Language::negotiate(&parts.headers)))
        }
    }
}

/// Types that name variants of the service's enum `Permission`.
#[macro_export]
macro_rules! requires {
    ($($name:ident),+ $(,)?) => {$(
        #[doc = concat!("[`Permission::", stringify!($name), "`].")]
        pub struct $name;
        impl $crate::service::permissions::Requires for $name {
            type Permission = Permission;
            const PERMISSION: Permission = Permission::$name;
        }
    )+};
}
