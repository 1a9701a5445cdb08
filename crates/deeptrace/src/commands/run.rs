//! `deeptrace run`, and what `agent run` and `server run` share with it: everything is checked,
//! bound and opened before anything starts, and ends in the opposite order.

mod doors;
mod file;
mod way;

use std::sync::Arc;

use crate::config::{Loaded, Loader};
use anyhow::{Context, Result};
use axum::Router;
use clap::Args;
use deeptrace_agent::control::{self, Ask, Control, Orders};
use deeptrace_agent::http as agent_http;
use deeptrace_agent::sender::Teller;
use deeptrace_agent::status::Status;
use deeptrace_http::{Guard, Limits, Listener, Settings, Tls, Token};
use deeptrace_server::access::{Access, oidc::Provider};
use deeptrace_server::alerts::{Alerts, Watcher, by_lease};
use deeptrace_server::api::{self, Api, Threshold};
use deeptrace_server::audit::Auditor;
use deeptrace_server::clock;
use deeptrace_server::correlation::{Choice, Correlation};
use deeptrace_server::duties::{Duties, Guarded};
use deeptrace_server::jobs::Jobs;
use deeptrace_server::metrics;
use deeptrace_server::orders;
use deeptrace_server::otlp::Otlp;
use deeptrace_server::pipeline::{Ingest, Writer};
use deeptrace_server::push::Push;
use deeptrace_store::{Mode, Store};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use self::doors::{Doors, agent_option, bind, names, otlp_doors};
use self::file::{LOOK, Watched};
use self::way::{Way, way};
use crate::settings::Running;
use crate::{Common, custom, duty, span_log};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Options of the command.
#[derive(Args)]
#[command(after_help = "Example: sudo deeptrace run --port 7901")]
pub struct Options {
    /// Port of the API and the page [default: 7901]
    #[arg(long)]
    port: Option<u16>,
    /// Port of the agent's API [default: 7899]
    #[arg(long)]
    agent_port: Option<u16>,
    /// Address of the API and the page [default: 127.0.0.1]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Write every span to standard output, one JSON object a line
    #[arg(long)]
    log_spans: bool,
}

/// What a process does.
#[derive(Clone, Copy, Debug)]
pub struct Roles {
    /// Capture and correlation.
    pub agent: bool,
    /// Store, API and page.
    pub server: bool,
    /// Spans on standard output.
    pub log_spans: bool,
}

/// Does it.
pub fn run(options: Options, common: &Common) -> Result<()> {
    let mut loader = loader(common);
    loader.argument("server.port", "--port", options.port);
    loader.argument("agents.port", "--agent-port", options.agent_port);
    loader.argument("server.host", "--listen", options.listen);
    start(loader, common, Roles { agent: true, server: true, log_spans: options.log_spans })
}

/// Configuration as this process was given it.
pub fn loader(common: &Common) -> Loader {
    Loader::of_process(common.config.clone())
}

/// Runs until a signal, or until the API is told to stop.
pub fn start(loader: Loader, common: &Common, roles: Roles) -> Result<()> {
    let loaded = loader.load(None)?;
    if roles.agent {
        allowed()?;
        custom::handlers()?;
    }
    let pieces = small_pieces(roles);
    let (token, is_new) = Token::open(&common.data_dir)?;
    let agent = bind(roles.agent, loaded.agent.listen, agent_option(roles))?;
    let server = bind(roles.server, loaded.server.listen, "--port")?;
    let tls = loaded.server.tls.as_ref().map(Tls::open).transpose();
    let tls = tls.context("cannot start with [server.tls]")?;
    let server = server.map(|server| server.with_tls(tls.clone()));
    let otlp = otlp_doors(roles, &loaded, tls.as_ref())?;
    let address = server.as_ref().map(|server| loaded.server.url_at(server.address()));
    let store = open_store(roles, &loaded, common, address)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .thread_keep_alive(std::time::Duration::from_secs(5))
        .build()
        .context("cannot start the runtime of the API")?;
    log_to_stderr();
    if let Err(error) = pieces {
        tracing::warn!(%error, "cannot work in small pieces; the kernel treats this process like any other");
    }
    for note in loaded.notes() {
        tracing::info!("{note}");
    }
    let doors = Doors {
        agent,
        server,
        tls,
        otlp,
        token,
        is_new,
        log_spans: roles.log_spans,
        data_dir: common.data_dir.clone(),
    };
    let spans = match &store {
        Some(opened) if roles.log_spans => Some(span_log::start(&opened.ingest)?),
        _ => None,
    };
    runtime.block_on(serve(loader, loaded, doors, store))?;
    // Nothing is written any more, so that it ends with what was.
    if spans.is_some_and(|spans| spans.join().is_err()) {
        tracing::error!("the thread that logs spans has panicked");
    }
    Ok(())
}

/// The store with the thread that writes to it, and what else comes in and goes out.
struct Opened {
    store: Arc<dyn Store>,
    duties: Arc<Duties>,
    orders: Arc<orders::Orders>,
    ingest: Ingest,
    writer: Writer,
    otlp: Otlp,
    /// Whether other servers write to the store as well.
    is_shared: bool,
}

async fn serve(loader: Loader, loaded: Loaded, doors: Doors, opened: Option<Opened>) -> Result<()> {
    let (stop, stopped) = watch::channel(false);
    let stop = Arc::new(stop);
    let file = Watched::new(loaded.file.clone());
    let status = Arc::new(Status::new(clock::now()));
    let threshold = Arc::new(Threshold::new(loaded.server.threshold));
    let choice = Arc::new(Choice::new(loaded.agent.correlation.algorithm));
    let alerts = Arc::new(Alerts::new(loaded.alerts.clone()));
    let (control, orders) = control::channel();
    let settings: Arc<dyn Settings> =
        Arc::new(running(loader, loaded.clone(), &doors, &control, &threshold, &choice, &alerts));
    let (mut duties_end, mut orders_end, mut edges_end) = (None, None, None);
    let teller = Teller::new(Arc::clone(&status), &doors.data_dir, VERSION);
    let (way, sends, kept) = way(&loaded, opened.as_ref(), &doors, teller, &settings)?;
    let end_capture = match doors.agent {
        Some(_) => Some(capture(&loaded, &doors, orders, Arc::clone(&status), way)?),
        None => None,
    };
    // Whoever has read what they wanted and closed the pipe must not end us.
    if let Err(error) = doors.announce() {
        tracing::warn!(%error, "cannot say where the APIs listen");
    }
    let has_agent = end_capture.is_some();

    let mut serving = tokio::task::JoinSet::new();
    let guard = |listen, names| Guard::new(listen, names, doors.token.clone());
    if let Some(listener) = doors.agent {
        let api = agent_http::Api {
            status: Arc::clone(&status),
            control,
            stop: Arc::clone(&stop),
            version: VERSION,
        };
        let routes: Router = agent_http::routes(api, Arc::clone(&settings));
        let guard = guard(listener.address(), names(listener.address(), &[]));
        serving.spawn(listener.serve(routes, guard, Limits::default(), stopped.clone()));
    }
    let (mut audit, mut writer) = (None, None);
    if let (Some(listener), Some(opened)) = (doors.server, opened) {
        let Opened { store, duties, orders, ingest, writer: writing, otlp, is_shared } = opened;
        writer = Some(writing);
        let started = orders.start(stopped.clone());
        orders_end = Some(started.context("cannot start the thread of the orders")?);
        let started = duties.start(stopped.clone());
        duties_end = Some(started.context("cannot start the thread of the duties")?);
        if is_shared {
            let (ingest, store) = (ingest.clone(), Arc::clone(&store));
            let started = metrics::start_seeking(ingest, store, stopped.clone());
            edges_end = Some(started.context("cannot start the thread of the edges")?);
        }
        let started = status.started;
        let stop = stopped.clone();
        let jobs = Jobs::new(Arc::clone(&store), stopped.clone(), has_agent);
        let correlation = Correlation { choice, jobs: Arc::new(jobs) };
        let token = doors.token.clone();
        let started_auditor = auditor(&store, &loaded, &listener, &doors.data_dir)?;
        let mut access = Access::new(Arc::clone(&store), token, loaded.server.access);
        if let Some(settings) = &loaded.server.oidc {
            let provider =
                Provider::new(settings.clone()).context("cannot set up single sign-on")?;
            access = access.with_provider(provider);
        }
        let access = Arc::new(access.audited(Arc::clone(&started_auditor)));
        audit = Some(started_auditor);
        let watcher =
            Watcher::new(Arc::clone(&store), Arc::clone(&alerts), by_lease(Arc::clone(&store)));
        watcher.start(stopped.clone()).context("cannot start the thread of the alerts")?;
        let version = VERSION;
        let api = Api {
            store,
            access,
            duties,
            ingest,
            orders,
            alerts,
            otlp,
            push: Push::default(),
            threshold,
            correlation,
            started,
            stop,
            version,
        };
        if let Some(target) = &loaded.server.push {
            let pushing = api.push.clone().start(target, api.clone())?;
            serving.spawn(async move {
                pushing.await;
                Ok(())
            });
        }
        for listener in [doors.otlp.grpc, doors.otlp.http].into_iter().flatten() {
            let guard =
                Guard::of_host(listener.address(), names(listener.address(), &loaded.server.names));
            let routes = api::otlp_routes(&api);
            serving.spawn(listener.serve(routes, guard, Limits::default(), stopped.clone()));
        }
        let guard =
            Guard::of_host(listener.address(), names(listener.address(), &loaded.server.names));
        let routes = api::routes(api, Arc::clone(&settings));
        serving.spawn(listener.serve(routes, guard, Limits::default(), stopped.clone()));
    }
    wait_for_end(&stop, stopped, settings, file).await?;
    while let Some(ended) = serving.join_next().await {
        ended.context("an API has panicked")?.context("an API has failed")?;
    }
    for (of, thread) in [("orders", orders_end), ("duties", duties_end), ("edges", edges_end)] {
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the {of} has panicked");
        }
    }
    // What capture hands on at its end goes to the writer, so that one ends last.
    if let Some(end_capture) = end_capture {
        end_capture();
    }
    if let Some(sends) = sends {
        sends.finish();
    }
    for writer in [kept, writer].into_iter().flatten() {
        writer.finish();
    }
    if let Some(audit) = audit {
        audit.finish();
    }
    Ok(())
}

/// The writer of this server's audit log; its chain is named by host and port.
fn auditor(
    store: &Arc<dyn Store>,
    loaded: &Loaded,
    listener: &Listener,
    data_dir: &std::path::Path,
) -> Result<Arc<Auditor>> {
    let host = deeptrace_capture::host::host().name.replace('/', "-");
    let name = format!("{host}.{}", listener.address().port());
    let (store, spool) = (Arc::clone(store), Some(data_dir.to_owned()));
    let started = Auditor::start(store, name, loaded.server.audit, spool);
    started.map(Arc::new).context("cannot start the audit log")
}

/// Ends capture.
type EndCapture = Box<dyn FnOnce()>;

/// Starts capture, leaving out connections to our own listeners and to the server.
#[cfg(feature = "live")]
fn capture(
    loaded: &Loaded,
    doors: &Doors,
    orders: Orders,
    status: Arc<Status>,
    way: Way,
) -> Result<EndCapture> {
    use deeptrace_agent::capturing::{Capturing, Parts};

    let otlp = &doors.otlp;
    let listeners = [&doors.agent, &doors.server, &otlp.grpc, &otlp.http].into_iter().flatten();
    let server = loaded.agent.sender.as_ref().map(|sending| sending.port);
    let own_ports = listeners.map(|listener| listener.address().port()).chain(server).collect();
    let handlers = custom::handlers()?;
    let Way { sink, relay } = way;
    let parts = Parts { orders, status, sink, relay, handlers };
    let capturing = Capturing::start(&loaded.agent, own_ports, parts)?;
    tracing::info!(hook = capturing.hook().as_str(), "capturing");
    Ok(Box::new(move || capturing.finish()))
}

#[cfg(not(feature = "live"))]
fn capture(
    _: &Loaded,
    _: &Doors,
    _: Orders,
    _: Arc<Status>,
    Way { sink, relay }: Way,
) -> Result<EndCapture> {
    drop((sink, relay));
    anyhow::bail!("this build has no live capture; build it with the feature `live`")
}

/// Until somebody says stop; a hang-up, or a new configuration file, has the configuration read again.
async fn wait_for_end(
    stop: &watch::Sender<bool>,
    mut stopped: watch::Receiver<bool>,
    settings: Arc<dyn Settings>,
    mut file: Watched,
) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = stopped.changed() => break,
            _ = hang_up.recv() => {}
            _ = looks.tick() => if !file.has_changed() {
                continue;
            }
        }
        let settings = Arc::clone(&settings);
        let reloaded = tokio::task::spawn_blocking(move || settings.reload()).await;
        if let Ok(Err(error)) = reloaded {
            tracing::error!("the configuration stays as it was: {error}");
        }
    }
    tracing::info!("stopping");
    stop.send_replace(true);
    Ok(())
}

/// The configuration of this process, with what a change of it does.
fn running(
    loader: Loader,
    loaded: Loaded,
    doors: &Doors,
    control: &Control,
    threshold: &Arc<Threshold>,
    choice: &Arc<Choice>,
    alerts: &Arc<Alerts>,
) -> Running {
    let alerts = Arc::clone(alerts);
    let (control, threshold) = (control.clone(), Arc::clone(threshold));
    let choice = Arc::clone(choice);
    let tls = doors.tls.clone();
    let has_agent = doors.agent.is_some();
    Running::new(
        loader,
        loaded,
        Box::new(move |loaded| {
            // What may be refused comes before what changes anything.
            let renewed = match (&tls, &loaded.server.tls) {
                (Some(tls), Some(files)) => {
                    Some((tls, Tls::read(files).map_err(|error| error.to_string())?))
                }
                _ => None,
            };
            if has_agent {
                let ask = Ask::Apply(Box::new(loaded.agent.clone()));
                control.ask_blocking(ask).map_err(|error| error.to_string())?;
            }
            threshold.set(loaded.server.threshold);
            alerts.set(loaded.alerts.clone());
            choice.set(loaded.agent.correlation.algorithm);
            if let Some((tls, renewed)) = renewed {
                tls.renew(renewed);
            }
            Ok(())
        }),
    )
}

/// Nobody waits until huge pages are cleared: no watched application, and nobody who asks for a trace. Beside a watched
/// application no thread of this process works for long at a time either.
fn small_pieces(roles: Roles) -> std::io::Result<()> {
    #[cfg(feature = "live")]
    {
        use deeptrace_capture::scheduling;
        scheduling::take_small_pages()?;
        if roles.agent {
            scheduling::work_in_short_slices()?;
        }
    }
    let _ = roles;
    Ok(())
}

/// Whether this host lets us watch it; the first thing that does not is the error.
fn allowed() -> Result<()> {
    #[cfg(feature = "live")]
    for check in deeptrace_capture::live::checks() {
        if check.status == deeptrace_capture::live::CheckStatus::Fail {
            anyhow::bail!("{}; {}", check.detail, check.remedy);
        }
    }
    #[cfg(not(feature = "live"))]
    anyhow::bail!("this build has no live capture; build it with the feature `live`");
    #[cfg(feature = "live")]
    Ok(())
}

fn open_store(
    roles: Roles,
    loaded: &Loaded,
    common: &Common,
    address: Option<String>,
) -> Result<Option<Opened>> {
    if !roles.server {
        return Ok(None);
    }
    let mut options = loaded.server.store_options(&common.data_dir);
    options.is_gentle = roles.agent;
    options.address = address;
    let store = deeptrace_store::open(loaded.server.backend, &options, Mode::Write)
        .context("cannot open the store")?;
    let guarded = Arc::new(Guarded::new(store).context("cannot read what was erased")?);
    let place = duty::place(loaded, common);
    let (tombstones, is_shared) = (guarded.tombstones(), place.is_shared);
    let duties = Arc::new(Duties::new(Arc::clone(&guarded), place));
    let store: Arc<dyn Store> = guarded;
    let orders = Arc::new(orders::Orders::new(Arc::clone(&store), tombstones, is_shared));
    let held = std::time::Duration::from_nanos(loaded.agent.sampling.held().0);
    let (ingest, writer) = Ingest::start(Arc::clone(&store), roles.agent.then_some(held))
        .context("cannot start the writer of the store")?;
    let per_second = loaded.server.otlp.spans_per_second;
    let otlp = Otlp::start(ingest.clone(), Arc::clone(&store), per_second)
        .context("cannot start what looks for reported spans")?;
    Ok(Some(Opened { store, duties, orders, ingest, writer, otlp, is_shared }))
}

fn log_to_stderr() {
    let level = std::env::var("DEEPTRACE_LOG").ok().and_then(|level| level.parse().ok());
    tracing_subscriber::fmt()
        .with_max_level(level.unwrap_or(tracing::level_filters::LevelFilter::INFO))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .init();
}
