//! Which route needs which role: the table from which requests are decided, and of which
//! `docs/access.md` is made. A route without a row is refused, and `tests/access.rs` says so.

use super::Role;

/// A route: one row of [`ROUTES`].
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Method; HEAD is asked like GET.
    pub method: &'static str,
    /// Path as the router has it, `{…}` for a part that varies.
    pub path: &'static str,
    /// The least role; `None`: everybody, also without a token.
    pub role: Option<Role>,
    /// Whether answers hold only what a caller who is restricted to some services may see. Where
    /// they cannot, such a caller is refused.
    pub narrows: bool,
    /// Whether a call is a line of the audit log: each that reads spans or changes something.
    pub audited: bool,
    /// What it does, in one line.
    pub about: &'static str,
}

impl Route {
    /// The same, for a handler that asks [`View`](super::View) what it may answer.
    const fn narrowed(self) -> Self {
        Self { narrows: true, ..self }
    }

    /// The same, which tells of the program and not of what is traced.
    const fn quiet(self) -> Self {
        Self { audited: false, ..self }
    }

    /// The same, although everybody may call it.
    const fn told(self) -> Self {
        Self { audited: true, ..self }
    }
}

const fn open(method: &'static str, path: &'static str, about: &'static str) -> Route {
    Route { method, path, role: None, narrows: true, audited: false, about }
}

const fn to(role: Role, method: &'static str, path: &'static str, about: &'static str) -> Route {
    // Agents send all the time; what they send is what is stored.
    let audited = !matches!(role, Role::Agent);
    Route { method, path, role: Some(role), narrows: false, audited, about }
}

use Role::{Admin, Agent, Analyst, Operator, Viewer};

/// All routes of the server, by what they are about.
pub const ROUTES: &[Route] = &[
    open("GET", "/", "the page"),
    open("GET", "/index.html", "the page"),
    open("GET", "/icon.svg", "a file of the page"),
    open("GET", "/assets/page.css", "a file of the page"),
    open("GET", "/assets/page.js", "a file of the page"),
    open("GET", "/health", "whether the process answers"),
    open("GET", "/login", "whether one has to log in, and who one is"),
    open("POST", "/login", "name and password for a session").told(),
    open("POST", "/login/oidc", "where single sign-on begins"),
    open("POST", "/login/oidc/code", "what came of it, for a session").told(),
    open("POST", "/logout", "end the session").told(),
    to(Viewer, "GET", "/status", "what is stored, and every counter").quiet(),
    to(Viewer, "GET", "/metrics", "counters for Prometheus").quiet(),
    to(Viewer, "GET", "/openapi.json", "this API, for programs").narrowed().quiet(),
    // Spans and what is made of them.
    to(Viewer, "GET", "/traces", "search traces").narrowed(),
    to(Viewer, "GET", "/traces/{trace_id}", "one trace; payloads for analysts").narrowed(),
    to(Viewer, "GET", "/spans/search", "search spans; payloads for analysts").narrowed(),
    to(Viewer, "GET", "/ws/spans", "spans as they come; payloads for analysts").narrowed(),
    to(Viewer, "GET", "/ws/traces", "traces as they settle").narrowed(),
    to(Viewer, "GET", "/analytics/services", "services with their latencies").narrowed(),
    to(Viewer, "GET", "/analytics/operations", "operations with their latencies").narrowed(),
    to(Viewer, "GET", "/analytics/topology", "who calls whom"),
    to(Viewer, "GET", "/analytics/latency", "percentiles over time"),
    to(Viewer, "GET", "/analytics/errors", "errors in groups"),
    to(Viewer, "GET", "/analytics/critical-path", "what traces waited for"),
    // Alerts.
    to(Viewer, "GET", "/alerts", "rules with what holds now, and how the webhooks do"),
    to(Operator, "POST", "/alerts/test", "send a test message to webhooks"),
    // Agents.
    to(Agent, "POST", "/spans", "batches of agents"),
    to(Agent, "POST", "/agents", "an agent tells that it is there"),
    to(Viewer, "GET", "/agents", "agents, and how they are"),
    to(Agent, "GET", "/agents/{agent_id}/orders", "an agent waits for what it is to do"),
    to(Agent, "POST", "/agents/{agent_id}/answers", "what an agent says to that"),
    to(Analyst, "GET", "/agents/config", "the configuration of agents that accept one"),
    to(Operator, "PUT", "/agents/config", "change it"),
    // Jaeger's query API.
    to(Viewer, "GET", "/api/services", "Jaeger: services"),
    to(Viewer, "GET", "/api/services/{service}/operations", "Jaeger: operations of a service"),
    to(Viewer, "GET", "/api/operations", "Jaeger: operations with their kinds"),
    to(Viewer, "GET", "/api/traces", "Jaeger: search traces"),
    to(Viewer, "GET", "/api/traces/{trace_id}", "Jaeger: one trace"),
    to(Viewer, "GET", "/api/dependencies", "Jaeger: which service calls which"),
    to(Viewer, "GET", "/api/v3/services", "Jaeger v3: services"),
    to(Viewer, "GET", "/api/v3/operations", "Jaeger v3: operations of a service"),
    to(Viewer, "GET", "/api/v3/traces", "Jaeger v3: search traces"),
    to(Viewer, "GET", "/api/v3/traces/{trace_id}", "Jaeger v3: one trace"),
    // Spans of SDKs.
    to(Role::Agent, "POST", "/v1/traces", "OTLP over HTTP"),
    to(
        Role::Agent,
        "POST",
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        "OTLP over gRPC",
    ),
    // Correlation.
    to(Viewer, "GET", "/correlation/algorithms", "algorithms, and which one is in effect")
        .narrowed(),
    to(Operator, "POST", "/correlation/run", "correlate stored spans again"),
    to(Operator, "GET", "/correlation/jobs/{id}", "how far that is"),
    to(Operator, "DELETE", "/correlation/jobs/{id}", "cancel it"),
    // Duties of the data.
    to(Admin, "DELETE", "/spans", "erase spans, or remove old ones"),
    to(Admin, "POST", "/backup", "back up data and configuration"),
    to(Operator, "POST", "/import", "take in spans that were exported"),
    to(Admin, "GET", "/jobs/{id}", "how far such a duty is"),
    // How it runs.
    to(Analyst, "GET", "/config", "the configuration, without secrets"),
    to(Operator, "PUT", "/config", "change the configuration"),
    to(Operator, "POST", "/config/reload", "read the configuration file again"),
    // Who may do what.
    to(Admin, "GET", "/users", "list users"),
    to(Admin, "POST", "/users", "add or replace a user"),
    to(Admin, "DELETE", "/users/{name}", "remove a user"),
    to(Admin, "GET", "/tokens", "list tokens"),
    to(Admin, "POST", "/tokens", "make a token, shown once"),
    to(Admin, "DELETE", "/tokens/{id}", "revoke a token"),
    to(Admin, "GET", "/audit", "lines of the audit log"),
];

/// The row of a route; `method` as the caller gave it.
pub fn find(method: &str, path: &str) -> Option<&'static Route> {
    let method = if method == "HEAD" { "GET" } else { method };
    ROUTES.iter().find(|route| route.path == path && route.method == method)
}

/// Whether a call of that route is a line of the audit log.
pub(crate) fn is_audited(method: &str, path: &str) -> bool {
    find(method, path).is_some_and(|route| route.audited)
}

/// Methods that a path has rows for.
pub fn methods(path: &str) -> Vec<&'static str> {
    ROUTES.iter().filter(|route| route.path == path).map(|route| route.method).collect()
}
