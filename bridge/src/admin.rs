//! What a region's admin address serves.
//!
//! | request | answer |
//! |---|---|
//! | `GET /metrics` | Prometheus text |
//! | `GET /healthz` | 200 while a restart would not help; else 503 and why |
//! | `GET /readyz` | 200 once the sidecar does what it is for; else 503 and what is missing |
//! | `GET /status` | everything, as JSON |
//! | `POST /routes/NAME/pause`, `/resume` | what the route's drivers answered, as JSON |
//! | `POST /routes/NAME/seek` | the same; the body says where: `{"to": "first", "peer": "us"}` |
//! | `POST /reload` | reads the fleet file again: what changed, what waits for a restart, or every error (422) |
//!
//! There are no passwords: whoever reaches the address may command the sidecar, so it belongs on
//! loopback or a network of operators. Requests that a web page made are refused, because a browser
//! reaches loopback too.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::command::{CommandError, RouteCommand, RouteControl, SeekTo};
use crate::metrics;
use crate::reload::{ReloadControl, ReloadOutcome};
use crate::shutdown::{Phase, Shutdown};
use crate::status::{Board, StatusReport};

/// A seek is a hundred bytes.
const BODY_LEN_MAX: usize = 4096;
/// A driver answers at once, or after a question to its server.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// The admin service.
#[derive(Debug, Clone)]
pub struct Admin {
    board: Board,
    controls: Arc<[RouteControl]>,
    reload: Option<ReloadControl>,
}

/// What one leg of a route answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The route.
    pub route: String,
    /// The leg's target region.
    pub peer: String,
    /// Whether it was done.
    pub done: bool,
    /// What is true now, or why it was not done.
    pub said: String,
}

/// Where to seek, and on which leg.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeekBody {
    to: SeekPlace,
    peer: Option<String>,
}

/// A sequence may be written as a number.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum SeekPlace {
    Sequence(u64),
    Text(String),
}

/// Why a request was not answered as asked.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    BadRequest(String),
    NoSuchRoute(String),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::BadRequest(why) => (StatusCode::BAD_REQUEST, why + "\n").into_response(),
            Self::NoSuchRoute(why) => (StatusCode::NOT_FOUND, why + "\n").into_response(),
        }
    }
}

impl Admin {
    /// A service that shows `board` and commands `controls`: the legs that leave this region.
    pub fn new(board: Board, controls: Vec<RouteControl>) -> Self {
        Self {
            board,
            controls: controls.into(),
            reload: None,
        }
    }

    /// The same, taking `POST /reload` too.
    pub fn with_reload(self, reload: ReloadControl) -> Self {
        Self {
            reload: Some(reload),
            ..self
        }
    }

    /// Serves until the process has drained. Where the address cannot be had is for the caller to say.
    pub async fn serve(self, listener: TcpListener, mut shutdown: Shutdown) -> std::io::Result<()> {
        // Draining is worth watching, so only the end of it ends us.
        let end = async move { shutdown.reached(Phase::Ending).await };
        axum::serve(listener, self.router())
            .with_graceful_shutdown(end)
            .await
    }

    fn router(self) -> Router {
        Router::new()
            .route("/metrics", get(show_metrics))
            .route("/healthz", get(show_health))
            .route("/readyz", get(show_readiness))
            .route("/status", get(show_status))
            .route("/routes/{name}/pause", post(pause))
            .route("/routes/{name}/resume", post(resume))
            .route("/routes/{name}/seek", post(seek))
            .route("/reload", post(reload))
            .layer(from_fn(refuse_browsers))
            .layer(DefaultBodyLimit::max(BODY_LEN_MAX))
            .with_state(self)
    }

    /// Asks every leg of a route, or the one towards `peer`.
    async fn command(
        &self,
        route: &str,
        peer: Option<&str>,
        command: &RouteCommand,
    ) -> Result<Response, Refusal> {
        let is_meant = |control: &&RouteControl| {
            control.route.as_str() == route && peer.is_none_or(|peer| control.peer.as_str() == peer)
        };
        let legs: Vec<_> = self.controls.iter().filter(is_meant).collect();
        if legs.is_empty() {
            return Err(self.no_such_route(route, peer));
        }
        let mut answers = Vec::with_capacity(legs.len());
        for leg in legs {
            let said = timeout(COMMAND_TIMEOUT, leg.ask(command.clone())).await;
            let said = said.unwrap_or_else(|_| {
                Err(CommandError::Refused(format!(
                    "no answer within {COMMAND_TIMEOUT:?}"
                )))
            });
            let done = said.is_ok();
            let said = said.unwrap_or_else(|why| why.to_string());
            tracing::info!(%route, peer = %leg.peer, ?command, done, said, "operator's command");
            answers.push(Answer {
                route: route.to_owned(),
                peer: leg.peer.to_string(),
                done,
                said,
            });
        }
        let all_done = answers.iter().all(|answer| answer.done);
        let status = if all_done {
            StatusCode::OK
        } else {
            StatusCode::CONFLICT
        };
        Ok((status, Json(answers)).into_response())
    }

    fn no_such_route(&self, route: &str, peer: Option<&str>) -> Refusal {
        let report = self.board.snapshot();
        let arrives = report.routes.iter().map(|leg| &leg.status).find(|leg| {
            leg.name.as_str() == route && !self.controls.iter().any(|known| known.route == leg.name)
        });
        if let Some(leg) = arrives {
            let why = format!(
                "route {route} arrives here: ask the sidecar of region {}",
                leg.peer
            );
            return Refusal::NoSuchRoute(why);
        }
        let known: Vec<_> = self
            .controls
            .iter()
            .map(|leg| format!("{} to {}", leg.route, leg.peer))
            .collect();
        let to = peer.map(|peer| format!(" to {peer}")).unwrap_or_default();
        let known = if known.is_empty() {
            "none".into()
        } else {
            known.join(", ")
        };
        Refusal::NoSuchRoute(format!("no route {route}{to} leaves here; known: {known}"))
    }
}

async fn show_metrics(State(admin): State<Admin>) -> Response {
    match metrics::render(&admin.board.snapshot()) {
        Ok(text) => {
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(why) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n")).into_response(),
    }
}

async fn show_status(State(admin): State<Admin>) -> Json<StatusReport> {
    Json(admin.board.snapshot())
}

async fn show_health(State(admin): State<Admin>) -> Response {
    verdict("healthy", &admin.board.unhealthy())
}

async fn show_readiness(State(admin): State<Admin>) -> Response {
    verdict("ready", &admin.board.not_ready())
}

fn verdict(word: &str, reasons: &[String]) -> Response {
    if reasons.is_empty() {
        return (StatusCode::OK, format!("{word}\n")).into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n").into_response()
}

async fn pause(State(admin): State<Admin>, Path(name): Path<String>) -> Result<Response, Refusal> {
    admin.command(&name, None, &RouteCommand::Pause).await
}

async fn resume(State(admin): State<Admin>, Path(name): Path<String>) -> Result<Response, Refusal> {
    admin.command(&name, None, &RouteCommand::Resume).await
}

async fn seek(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    body: String,
) -> Result<Response, Refusal> {
    const WANTED: &str = r#"wanted {"to": "first" | "new" | SEQUENCE | TIME, "peer": REGION?}"#;
    let body: SeekBody = serde_json::from_str(&body)
        .map_err(|why| Refusal::BadRequest(format!("{why}; {WANTED}")))?;
    let text = match body.to {
        SeekPlace::Sequence(sequence) => sequence.to_string(),
        SeekPlace::Text(text) => text,
    };
    let to: SeekTo = text
        .parse()
        .map_err(|why| Refusal::BadRequest(format!("{why}")))?;
    admin
        .command(&name, body.peer.as_deref(), &RouteCommand::Seek(to))
        .await
}

async fn reload(State(admin): State<Admin>) -> Response {
    let Some(control) = &admin.reload else {
        let why = "this sidecar was not started from a fleet file\n";
        return (StatusCode::NOT_FOUND, why).into_response();
    };
    match control.ask().await {
        Ok(report) => {
            let status = match report.outcome {
                ReloadOutcome::Applied | ReloadOutcome::Unchanged => StatusCode::OK,
                ReloadOutcome::Refused => StatusCode::UNPROCESSABLE_ENTITY,
            };
            (status, Json(report)).into_response()
        }
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

/// A browser names the page that a request comes from; nobody else does.
async fn refuse_browsers(request: Request, next: Next) -> Response {
    let is_from_page = request.headers().contains_key(header::ORIGIN);
    if is_from_page && request.method() != axum::http::Method::GET {
        return (
            StatusCode::FORBIDDEN,
            "commands are not taken from web pages\n",
        )
            .into_response();
    }
    next.run(request).await
}

/// Binds the admin address, with its port in the error.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|why| {
        std::io::Error::new(why.kind(), format!("admin address {address} (TCP): {why}"))
    })
}
