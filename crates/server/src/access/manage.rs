//! Routes by which users and tokens are made, listed and removed; role admin.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::routing::{delete, get};
use axum::{Json, Router};
use deeptrace_http::{ApiError, Body, Params, Segment};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::token::{ApiToken, Created, NewToken};
use super::user::{Made, NewUser, User};
use super::{Access, AccessError, login, token, user};
use crate::answers::{LIMIT_MAX, limit};
use crate::api::blocking;
use crate::audit::Note;

/// `/users`, `/tokens`, `/login` and `/logout`.
pub fn routes<S: Clone + Send + Sync + 'static>(access: Arc<Access>) -> Router<S> {
    Router::new()
        .route("/users", get(users).post(add_user))
        .route("/users/{name}", delete(remove_user))
        .route("/tokens", get(tokens).post(create_token))
        .route("/tokens/{id}", delete(revoke_token))
        .merge(login::routes())
        .with_state(access)
}

/// A page of a listing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PageQuery {
    limit: Option<usize>,
    cursor: Option<String>,
}

/// A page of `GET /users`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Users {
    /// By name.
    pub users: Vec<User>,
    /// For the next page; absent at the end.
    pub next_cursor: Option<String>,
}

/// A page of `GET /tokens`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tokens {
    /// By id.
    pub tokens: Vec<ApiToken>,
    /// For the next page; absent at the end.
    pub next_cursor: Option<String>,
}

impl PageQuery {
    fn limit(&self) -> Result<usize, ApiError> {
        limit(self.limit, 100, LIMIT_MAX)
    }
}

type Shared = State<Arc<Access>>;

/// Asks the store; what is changed is known at once.
async fn with_store<T: Send + 'static>(
    access: Arc<Access>,
    ask: impl FnOnce(&dyn deeptrace_store::Store) -> Result<T, AccessError> + Send + 'static,
) -> Result<T, ApiError> {
    blocking(move || {
        let answer = ask(&*access.directory.store);
        access.directory.forget();
        answer.map_err(ApiError::from)
    })
    .await
}

async fn users(
    State(access): Shared,
    Params(page): Params<PageQuery>,
) -> Result<Json<Users>, ApiError> {
    let limit = page.limit()?;
    let users =
        with_store(access, move |store| user::list(store, page.cursor.as_deref(), limit)).await?;
    let last = users.last().filter(|_| users.len() == limit);
    Ok(Json(Users { next_cursor: last.map(|user| user.name.clone()), users }))
}

async fn add_user(
    State(access): Shared,
    Body(new): Body<NewUser>,
) -> Result<(StatusCode, Extension<Note>, Json<Made>), ApiError> {
    let made = with_store(access, move |store| user::add(store, new)).await?;
    let note = Note("user", format!("{} {}", made.user.name, made.user.role));
    Ok((StatusCode::CREATED, Extension(note), Json(made)))
}

async fn remove_user(
    State(access): Shared,
    Segment(name): Segment,
) -> Result<Json<Value>, ApiError> {
    let removed = json!({"name": name});
    with_store(access, move |store| user::remove(store, &name)).await?;
    Ok(Json(removed))
}

async fn tokens(
    State(access): Shared,
    Params(page): Params<PageQuery>,
) -> Result<Json<Tokens>, ApiError> {
    let limit = page.limit()?;
    let tokens =
        with_store(access, move |store| token::list(store, page.cursor.as_deref(), limit)).await?;
    let last = tokens.last().filter(|_| tokens.len() == limit);
    Ok(Json(Tokens { next_cursor: last.map(|token| token.id.clone()), tokens }))
}

async fn create_token(
    State(access): Shared,
    Body(new): Body<NewToken>,
) -> Result<(StatusCode, Extension<Note>, Json<Created>), ApiError> {
    let created = with_store(access, move |store| token::create(store, new)).await?;
    let ApiToken { id, name, role, .. } = &created.about;
    let note = Note("token", format!("{name}#{id} {role}"));
    Ok((StatusCode::CREATED, Extension(note), Json(created)))
}

async fn revoke_token(
    State(access): Shared,
    Segment(id): Segment,
) -> Result<Json<Value>, ApiError> {
    let revoked = json!({"id": id});
    with_store(access, move |store| token::revoke(store, &id)).await?;
    Ok(Json(revoked))
}
