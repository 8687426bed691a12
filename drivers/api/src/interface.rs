//! The table of a driver's methods.
//!
//! A method is a plain function of the driver: `async fn(Arc<Self>, Call, A, B, …) -> Result<R,
//! DriverError>` for calls, a function that returns a stream of results for streaming calls, and
//! `async fn(Arc<Self>, Call) -> Result<ByteStream, DriverError>` for byte streams. Arguments are
//! decoded and counted from the types; `Option` parameters may be left out at the end.

use std::{collections::BTreeMap, future::Future, sync::Arc};

use futures::{FutureExt, Stream, StreamExt, future::BoxFuture, stream::BoxStream};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{ByteStream, Call, DriverError, args::Args};

/// How a call shares the instance with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// One at a time, in order; the next one waits at most 30 s.
    #[default]
    Exclusive,
    /// Exclusive, and long: others are refused at once while it runs.
    Transfer,
    /// Beside everything else. Also for waits, which take [`Call::exclusive`] for a moment.
    Shared,
    /// Never queues behind anything: `off`, `close`, `stop`.
    Preempting,
}

/// The three ways to reach a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MethodKind {
    /// One result.
    Call,
    /// A sequence of results.
    StreamingCall,
    /// Bytes in both directions.
    Stream,
}

impl MethodKind {
    /// Upstream's name of the mark that is missing when a method is reached the wrong way.
    pub fn marker(self) -> &'static str {
        match self {
            Self::Call => "marker_drivercall",
            Self::StreamingCall => "marker_streamingdrivercall",
            Self::Stream => "marker_streamcall",
        }
    }
}

type CallFn<D> = Arc<
    dyn Fn(Arc<D>, Call, Vec<Value>) -> BoxFuture<'static, Result<Value, DriverError>>
        + Send
        + Sync,
>;
type Items = BoxStream<'static, Result<Value, DriverError>>;
type StreamingFn<D> =
    Arc<dyn Fn(Arc<D>, Call, Vec<Value>) -> Result<Items, DriverError> + Send + Sync>;
type StreamFn<D> =
    Arc<dyn Fn(Arc<D>, Call) -> BoxFuture<'static, Result<ByteStream, DriverError>> + Send + Sync>;

pub(crate) enum Method<D> {
    Call(Mode, CallFn<D>),
    Streaming(StreamingFn<D>),
    Stream(StreamFn<D>),
}

impl<D> Method<D> {
    pub(crate) fn kind(&self) -> MethodKind {
        match self {
            Self::Call(..) => MethodKind::Call,
            Self::Streaming(_) => MethodKind::StreamingCall,
            Self::Stream(_) => MethodKind::Stream,
        }
    }
}

/// What a method does to the state of its instance.
#[derive(Debug, Clone, Copy)]
enum Effect {
    /// It leads to this state, and does nothing else.
    Switches(&'static str),
    /// It takes the instance through these on its way.
    Passes(&'static [&'static str]),
}

impl Effect {
    fn states(&self) -> &[&'static str] {
        match self {
            Self::Switches(state) => std::slice::from_ref(state),
            Self::Passes(states) => states,
        }
    }
}

/// What a driver exports.
pub struct Interface<D> {
    methods: BTreeMap<&'static str, Method<D>>,
    effects: Vec<(&'static str, Effect)>,
    /// A method, and the one that it is another way of.
    variants: Vec<(&'static str, &'static str)>,
    others: Option<&'static str>,
}

impl<D> Default for Interface<D> {
    fn default() -> Self {
        Self {
            methods: BTreeMap::new(),
            effects: Vec::new(),
            variants: Vec::new(),
            others: None,
        }
    }
}

impl<D: Send + Sync + 'static> Interface<D> {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Exports a call.
    #[must_use]
    pub fn call<A, H: CallHandler<D, A>>(self, name: &'static str, mode: Mode, handler: H) -> Self {
        let handler = Arc::new(handler);
        let call: CallFn<D> = Arc::new(move |driver, call, args| handler.run(driver, call, args));
        self.add(name, Method::Call(mode, call))
    }

    /// Exports a streaming call. It runs beside others.
    #[must_use]
    pub fn streaming<A, H: StreamingHandler<D, A>>(self, name: &'static str, handler: H) -> Self {
        let call: StreamingFn<D> =
            Arc::new(move |driver, call, args| handler.run(driver, call, args));
        self.add(name, Method::Streaming(call))
    }

    /// Exports a byte stream.
    #[must_use]
    pub fn stream<H: StreamHandler<D>>(self, name: &'static str, handler: H) -> Self {
        let open: StreamFn<D> = Arc::new(move |driver, call| handler.run(driver, call));
        self.add(name, Method::Stream(open))
    }

    /// Answers every method that is not exported with UNIMPLEMENTED and this text, for a driver that
    /// stands in for one whose methods it does not know.
    #[must_use]
    pub fn others_unimplemented(mut self, text: &'static str) -> Self {
        self.others = Some(text);
        self
    }

    /// Says that `method` leads to `state` and does nothing else. Rules that deny it deny everything
    /// that leads there. See [`Driver::state`](crate::Driver::state).
    #[must_use]
    pub fn switches(mut self, method: &'static str, state: &'static str) -> Self {
        self.effects.push((method, Effect::Switches(state)));
        self
    }

    /// Says that `method` takes the instance through `states` while it works, the last one included:
    /// a cycle goes through off and on.
    #[must_use]
    pub fn passes(mut self, method: &'static str, states: &'static [&'static str]) -> Self {
        self.effects.push((method, Effect::Passes(states)));
        self
    }

    /// Says that `method` is another way to do what `of` does. Rules that deny `of` deny it as well.
    #[must_use]
    pub fn variant(mut self, method: &'static str, of: &'static str) -> Self {
        self.variants.push((method, of));
        self
    }

    /// Other ways to do what `method` does.
    pub(crate) fn variants_of(&self, method: &str) -> impl Iterator<Item = &'static str> {
        let own = self.variants.iter().filter(move |(_, of)| *of == method);
        own.map(|(variant, _)| *variant)
    }

    fn effects_of(&self, method: &str) -> impl Iterator<Item = &Effect> {
        let own = self.effects.iter().filter(move |(of, _)| *of == method);
        own.map(|(_, effect)| effect)
    }

    /// States that `method` takes the instance through.
    pub(crate) fn enters(&self, method: &str) -> Vec<&'static str> {
        let effects = self.effects_of(method);
        effects.flat_map(|e| e.states().iter().copied()).collect()
    }

    /// The state to which `method` leads, when it does nothing else.
    pub(crate) fn switches_to(&self, method: &str) -> Option<&'static str> {
        self.effects_of(method).find_map(|effect| match effect {
            Effect::Switches(state) => Some(*state),
            Effect::Passes(_) => None,
        })
    }

    /// Whether a method that never queues leads to `state`.
    pub(crate) fn reached_at_once(&self, state: &str) -> bool {
        self.effects.iter().any(|(method, effect)| {
            matches!(effect, Effect::Switches(to) if *to == state) && self.preempts(method)
        })
    }

    /// Whether `method` never queues.
    pub(crate) fn preempts(&self, method: &str) -> bool {
        matches!(
            self.methods.get(method),
            Some(Method::Call(Mode::Preempting, _))
        )
    }

    /// The states an instance can be in, in the order in which its methods name them.
    pub fn states(&self) -> Vec<&'static str> {
        let mut states = Vec::new();
        for state in self.effects.iter().flat_map(|(_, e)| e.states()) {
            if !states.contains(state) {
                states.push(*state);
            }
        }
        states
    }

    pub(crate) fn others(&self) -> Option<&'static str> {
        self.others
    }

    fn add(mut self, name: &'static str, method: Method<D>) -> Self {
        let old = self.methods.insert(name, method);
        debug_assert!(old.is_none(), "method {name} is exported twice");
        self
    }

    /// Names and kinds, sorted by name.
    pub fn methods(&self) -> impl Iterator<Item = (&'static str, MethodKind)> + '_ {
        self.methods
            .iter()
            .map(|(name, method)| (*name, method.kind()))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Method<D>> {
        self.methods.get(name)
    }
}

/// A function that serves a call; implemented for functions of up to five arguments.
pub trait CallHandler<D, A>: Send + Sync + 'static {
    /// Decodes the arguments and runs the function.
    fn run(
        &self,
        driver: Arc<D>,
        call: Call,
        args: Vec<Value>,
    ) -> BoxFuture<'static, Result<Value, DriverError>>;
}

/// A function that serves a streaming call; implemented for functions of up to five arguments.
pub trait StreamingHandler<D, A>: Send + Sync + 'static {
    /// Decodes the arguments and makes the stream.
    fn run(&self, driver: Arc<D>, call: Call, args: Vec<Value>) -> Result<Items, DriverError>;
}

/// A function that opens a byte stream.
pub trait StreamHandler<D>: Send + Sync + 'static {
    /// Opens the stream.
    fn run(
        &self,
        driver: Arc<D>,
        call: Call,
    ) -> BoxFuture<'static, Result<ByteStream, DriverError>>;
}

impl<D, F, Fut> StreamHandler<D> for F
where
    F: Fn(Arc<D>, Call) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<ByteStream, DriverError>> + Send + 'static,
{
    fn run(
        &self,
        driver: Arc<D>,
        call: Call,
    ) -> BoxFuture<'static, Result<ByteStream, DriverError>> {
        self(driver, call).boxed()
    }
}

/// Results that JSON cannot carry (an infinite float becomes null before this) are a fault of the
/// argument in upstream's eyes, so they share its code.
fn encode(value: impl Serialize) -> Result<Value, DriverError> {
    serde_json::to_value(value).map_err(|e| DriverError::InvalidArgument(e.to_string()))
}

macro_rules! handlers {
    ($count:expr; $($arg:ident),*) => {
        impl<D, F, Fut, R, $($arg),*> CallHandler<D, ($($arg,)*)> for F
        where
            D: Send + Sync + 'static,
            F: Fn(Arc<D>, Call, $($arg),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Result<R, DriverError>> + Send + 'static,
            R: Serialize,
            $($arg: DeserializeOwned + Send + 'static,)*
        {
            #[allow(non_snake_case, unused_mut, unused_variables)] // the macro names values by type
            fn run(
                &self,
                driver: Arc<D>,
                call: Call,
                args: Vec<Value>,
            ) -> BoxFuture<'static, Result<Value, DriverError>> {
                let decoded = (|| {
                    let mut args = Args::new(args, $count)?;
                    $(let $arg = args.take()?;)*
                    Ok(($($arg,)*))
                })();
                match decoded {
                    Ok(($($arg,)*)) => {
                        let work = self(driver, call, $($arg),*);
                        async move { encode(work.await?) }.boxed()
                    }
                    Err(error) => std::future::ready(Err(error)).boxed(),
                }
            }
        }

        impl<D, F, S, R, $($arg),*> StreamingHandler<D, ($($arg,)*)> for F
        where
            D: Send + Sync + 'static,
            F: Fn(Arc<D>, Call, $($arg),*) -> S + Send + Sync + 'static,
            S: Stream<Item = Result<R, DriverError>> + Send + 'static,
            R: Serialize,
            $($arg: DeserializeOwned + Send + 'static,)*
        {
            #[allow(non_snake_case, unused_mut, unused_variables)] // the macro names values by type
            fn run(&self, driver: Arc<D>, call: Call, args: Vec<Value>) -> Result<Items, DriverError> {
                let mut args = Args::new(args, $count)?;
                $(let $arg = args.take()?;)*
                Ok(self(driver, call, $($arg),*).map(|item| item.and_then(encode)).boxed())
            }
        }
    };
}

handlers!(0;);
handlers!(1; A1);
handlers!(2; A1, A2);
handlers!(3; A1, A2, A3);
handlers!(4; A1, A2, A3, A4);
handlers!(5; A1, A2, A3, A4, A5);
