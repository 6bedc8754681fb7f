//! Which failures pass and which never will.

use scylla::errors::{
    ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError, ExecutionError, RequestAttemptError,
};

/// Whether the same request may succeed later: the server is away, or has too much to do.
pub fn passes(error: &ExecutionError) -> bool {
    match error {
        ExecutionError::EmptyPlan | ExecutionError::RequestTimeout(_) => true,
        ExecutionError::ConnectionPoolError(error) => !is_refused(error),
        ExecutionError::LastAttemptError(error) => attempt_passes(error),
        _ => false,
    }
}

fn attempt_passes(error: &RequestAttemptError) -> bool {
    match error {
        RequestAttemptError::BrokenConnectionError(_) | RequestAttemptError::UnableToAllocStreamId => true,
        RequestAttemptError::DbError(error, _) => matches!(
            error,
            DbError::Unavailable { .. }
                | DbError::Overloaded
                | DbError::IsBootstrapping
                | DbError::TruncateError
                | DbError::ReadTimeout { .. }
                | DbError::WriteTimeout { .. }
                | DbError::ReadFailure { .. }
                | DbError::WriteFailure { .. }
                | DbError::ServerError
                | DbError::RateLimitReached { .. }
        ),
        _ => false,
    }
}

/// Whether the servers do not let us in any more.
fn is_refused(error: &ConnectionPoolError) -> bool {
    let ConnectionPoolError::Broken { last_connection_error } = error else { return false };
    let ConnectionError::ConnectionSetupRequestError(error) = last_connection_error else { return false };
    matches!(
        error.get_error(),
        ConnectionSetupRequestErrorKind::MissingAuthentication
            | ConnectionSetupRequestErrorKind::DbError(DbError::AuthenticationError | DbError::Unauthorized, _)
    )
}
