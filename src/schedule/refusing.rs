//! For tests: a wire over which every connection is refused.

use std::future::ready;
use std::net::SocketAddr;

use tokio::time::Instant;

use crate::model::{DnsRecord, Failure, Reason, Timeline};
use crate::transport::{BoxFuture, Destination, Exchange, Link, Request, Wire};

/// Does something whenever a connection is opened, and refuses it.
pub(super) struct Refusing<F>(pub(super) F);

impl<F: Fn() + Send + Sync> Wire for Refusing<F> {
    fn lookup<'a>(
        &'a self,
        _: &'a str,
        _: Option<SocketAddr>,
        _: Instant,
    ) -> BoxFuture<'a, Result<Vec<DnsRecord>, Failure>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    fn open(&self, _: &Destination) -> Box<dyn Link> {
        (self.0)();
        Box::new(Refused)
    }
}

struct Refused;

impl Link for Refused {
    fn send(&mut self, _: Request) -> BoxFuture<'_, Exchange> {
        let now = Instant::now();
        Box::pin(ready(Exchange {
            result: Err(Failure::of_answer(Reason::ConnectionRefused, "as ordered")),
            timeline: Timeline::default(),
            sent: now,
            answered: now,
            certificate: None,
        }))
    }
}
