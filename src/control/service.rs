//! `rigd.control.v1.Control`: passes questions on to the exporters, with a deadline on each.

use std::{
    future::ready,
    time::{Duration, SystemTime},
};

use futures::{
    Stream, StreamExt,
    future::join_all,
    stream::{self, BoxStream},
};
use prost_types::Timestamp;
use rigd_controller::{admin, model::World};
use rigd_proto::{
    control::v1::{
        CallRequest, CallResponse, ConsoleRequest, ConsoleResponse, Exporter, FlashRequest,
        FlashResponse, HoldRequest, HoldResponse, ReloadRequest, ReloadResponse, RunHookRequest,
        RunHookResponse, StatusRequest, StatusResponse, UnholdRequest, UnholdResponse, Verdict,
        console_request::Act, control_server::Control, run_hook_response::News,
    },
    value,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{answers, flash};
use crate::{
    daemon::handle::{
        ANSWER_LIMIT, Ask, Call, ExporterHandle, Exporters, HookNews, Reload, Served,
    },
    embedded::Lab,
};

/// Results and lines that wait for a slow reader; then what makes them waits. A result may have
/// megabytes.
pub(super) const WAITING: usize = 16;
/// How long a reload may take: it checks files, and waits at most 15 s for the instances of an
/// exporter that it stops and for those of one that it starts. `rigd reload` waits longer than
/// this, so it is told.
const RELOAD_LIMIT: Duration = Duration::from_secs(55);

/// The service.
#[derive(Debug)]
pub(super) struct Service {
    exporters: Exporters,
    lab: watch::Receiver<Option<Lab>>,
    reload: Reload,
    started: SystemTime,
}

impl Service {
    /// The daemon counts as started now. `lab` is its embedded controller, while one runs.
    pub(super) fn new(
        exporters: Exporters,
        lab: watch::Receiver<Option<Lab>>,
        reload: Reload,
    ) -> Self {
        Self {
            exporters,
            lab,
            reload,
            started: SystemTime::now(),
        }
    }

    /// Holds one, or no longer: by itself when this process serves it, and at the embedded controller
    /// when that knows it, which then tells those who wait for it why.
    async fn set_hold(&self, exporter: &str, reason: Option<String>) -> Result<(), Status> {
        let lab = self.lab.borrow().clone();
        let known = |lab: &Lab| {
            let known = |world: &World| world.exporters.contains_key(exporter);
            lab.engine.read(known)
        };
        let lab = lab.filter(known);
        if let (Some(_), Some(reason)) = (&lab, &reason) {
            // Exporters take longer ones: one that only one of both keeps would be half a hold.
            admin::check_reason(reason)?;
        }
        match self.exporters.find(exporter) {
            Ok(handle) => self.hold_own(exporter, &handle, reason.clone()).await?,
            // Another process serves it, on another host perhaps.
            Err(_) if lab.is_some() => {}
            Err(status) => return Err(status),
        }
        match lab {
            Some(lab) => admin::hold(&lab.engine, exporter, reason).await,
            None => Ok(()),
        }
    }

    async fn hold_own(
        &self,
        exporter: &str,
        handle: &ExporterHandle,
        reason: Option<String>,
    ) -> Result<(), Status> {
        let (reply, answer) = oneshot::channel();
        handle.ask(Ask::Hold(reason, reply)).await?;
        match timeout(ANSWER_LIMIT, answer).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(stopped(exporter)),
            Err(_) => Err(Status::unavailable(format!(
                "exporter '{exporter}' does not answer; once it does, `rigd status` shows whether \
                 it is held"
            ))),
        }
    }
}

fn stopped(exporter: &str) -> Status {
    Status::unavailable(format!("exporter '{exporter}' has stopped"))
}

/// The state of one, after at most 2 s.
async fn look((name, served): (String, Served)) -> Exporter {
    match served {
        Served::Ended(code) => answers::ended(name, code),
        Served::Running(handle) => {
            let answer = timeout(ANSWER_LIMIT, handle.snapshot()).await;
            let late = |_| Err(Status::unavailable("the exporter does not answer"));
            answers::running(name, answer.unwrap_or_else(late))
        }
    }
}

/// `items`, and `work` beside them for as long as somebody takes them.
pub(super) fn while_read<T: Send>(
    items: impl Stream<Item = T> + Send,
    work: impl Future<Output = ()> + Send,
) -> impl Stream<Item = T> + Send {
    let work = stream::once(work).filter_map(|()| ready(None::<Option<T>>));
    let items = items.map(Some).chain(stream::once(ready(None)));
    stream::select(items, work)
        .take_while(|item| ready(item.is_some()))
        .filter_map(ready)
}

/// The lines of a hook and its verdict; an error when there will be none.
fn rehearsal(
    exporter: String,
    news: mpsc::Receiver<HookNews>,
) -> impl stream::Stream<Item = Result<RunHookResponse, Status>> {
    let respond = |news| RunHookResponse { news: Some(news) };
    stream::unfold((Some(news), exporter), move |(news, exporter)| async move {
        let mut news = news?;
        let (item, more) = match news.recv().await {
            Some(HookNews::Line(line)) => (Ok(respond(News::Line(line))), Some(news)),
            Some(HookNews::Ended(ended)) => {
                let failure = ended.err().unwrap_or_default();
                (Ok(respond(News::Verdict(Verdict { failure }))), None)
            }
            Some(HookNews::Refused(status)) => (Err(status), None),
            None => (Err(stopped(&exporter)), None),
        };
        Some((item, (more, exporter)))
    })
}

#[tonic::async_trait]
impl Control for Service {
    type CallStream = BoxStream<'static, Result<CallResponse, Status>>;
    type RunHookStream = BoxStream<'static, Result<RunHookResponse, Status>>;
    type ConsoleStream = BoxStream<'static, Result<ConsoleResponse, Status>>;
    type FlashStream = BoxStream<'static, Result<FlashResponse, Status>>;

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        let wanted = request.into_inner().exporter;
        let mut served = self.exporters.all();
        if !wanted.is_empty() {
            served.retain(|(name, _)| *name == wanted);
            if served.is_empty() {
                // It knows how to say so.
                self.exporters.find(&wanted)?;
            }
        }
        // Side by side: one that hangs does not delay the others.
        let exporters = join_all(served.into_iter().map(look)).await;
        Ok(Response::new(StatusResponse {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            started: Some(Timestamp {
                nanos: 0,
                ..self.started.into()
            }),
            exporters,
            controller: self.lab.borrow().as_ref().map(answers::controller),
        }))
    }

    async fn reload(&self, _: Request<ReloadRequest>) -> Result<Response<ReloadResponse>, Status> {
        let (reply, done) = oneshot::channel();
        let reload = async {
            self.reload.0.send(reply).await.ok()?;
            done.await.ok()
        };
        let reloaded = timeout(RELOAD_LIMIT, reload).await.map_err(|_| {
            Status::deadline_exceeded(format!(
                "the reload is not over after {} s; the daemon goes on with it, and its log tells \
                 how it ends",
                RELOAD_LIMIT.as_secs()
            ))
        })?;
        let reloaded = reloaded.ok_or_else(|| Status::unavailable("the daemon is stopping"))?;
        // Not as an error: the places of all mistakes may be more than a trailer holds.
        Ok(Response::new(match reloaded {
            Ok(changes) => ReloadResponse {
                changes,
                problems: String::new(),
            },
            Err(problems) => ReloadResponse {
                changes: Vec::new(),
                problems,
            },
        }))
    }

    async fn call(
        &self,
        request: Request<CallRequest>,
    ) -> Result<Response<Self::CallStream>, Status> {
        let request = request.into_inner();
        let args = request.args.into_iter().map(value::to_json);
        let args = args.collect::<Result<_, _>>();
        let args = args.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let handle = self.exporters.find(&request.exporter)?;
        let (reply, results) = mpsc::channel(WAITING);
        let call = Call {
            path: request.path,
            method: request.method,
            args,
            force: request.force,
            reply,
        };
        handle.ask(Ask::Call(call)).await?;
        let results = ReceiverStream::new(results).map(|result| {
            let result = Some(value::from_json(result?));
            Ok(CallResponse { result })
        });
        // An exporter that stops under a call ends the queue as a call that is over does.
        let end = async move {
            handle
                .has_stopped()
                .then(|| Err(stopped(&request.exporter)))
        };
        let end = stream::once(end).filter_map(ready);
        Ok(Response::new(results.chain(end).boxed()))
    }

    async fn hold(&self, request: Request<HoldRequest>) -> Result<Response<HoldResponse>, Status> {
        let HoldRequest { exporter, reason } = request.into_inner();
        self.set_hold(&exporter, Some(reason.trim().into())).await?;
        Ok(Response::new(HoldResponse {}))
    }

    async fn unhold(
        &self,
        request: Request<UnholdRequest>,
    ) -> Result<Response<UnholdResponse>, Status> {
        self.set_hold(&request.into_inner().exporter, None).await?;
        Ok(Response::new(UnholdResponse {}))
    }

    async fn run_hook(
        &self,
        request: Request<RunHookRequest>,
    ) -> Result<Response<Self::RunHookStream>, Status> {
        let RunHookRequest { exporter, hook } = request.into_inner();
        let hook = answers::hook(hook)?;
        let handle = self.exporters.find(&exporter)?;
        let (news_tx, news) = mpsc::channel(WAITING);
        handle.ask(Ask::RunHook(hook, news_tx)).await?;
        Ok(Response::new(rehearsal(exporter, news).boxed()))
    }

    async fn console(
        &self,
        request: Request<Streaming<ConsoleRequest>>,
    ) -> Result<Response<Self::ConsoleStream>, Status> {
        let mut requests = request.into_inner();
        let first = timeout(ANSWER_LIMIT, requests.message()).await;
        let first = first.unwrap_or_else(|_| Ok(None))?;
        let Some(Act::Open(open)) = first.and_then(|request| request.act) else {
            let text = "the first message must open a console";
            return Err(Status::invalid_argument(text));
        };
        let handle = self.exporters.find(&open.exporter)?;
        let (typed, input) = mpsc::channel(WAITING);
        let (news_tx, news) = mpsc::channel(WAITING);
        let ask = answers::open_console(open, input, news_tx);
        handle.ask(Ask::Console(ask)).await?;
        let output = ReceiverStream::new(news).map(|news| news.map(answers::console));
        // Typed as long as somebody reads; its end is the end of typing alone.
        let typing = async move {
            while let Ok(Some(request)) = requests.message().await {
                if let Some(Act::Input(bytes)) = request.act
                    && typed.send(bytes).await.is_err()
                {
                    return;
                }
            }
        };
        Ok(Response::new(while_read(output, typing).boxed()))
    }

    async fn flash(
        &self,
        request: Request<Streaming<FlashRequest>>,
    ) -> Result<Response<Self::FlashStream>, Status> {
        let news = flash::flash(&self.exporters, request.into_inner()).await?;
        Ok(Response::new(news.boxed()))
    }
}
