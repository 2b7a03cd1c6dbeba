//! Asking for the addresses of a name: the system's way, or one resolver by itself (RFC 1035).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use futures_util::future::join;
use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, ResourceRecord, TYPE};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

use super::classify::own_limit;
use crate::model::{DnsRecord, Failure, Phase, Reason};

/// More addresses of one name are not kept.
const MAX_RECORDS: usize = 32;

/// More records of one answer are not read.
const MAX_ANSWERS: usize = 1000;

/// What fits into an answer over UDP without extensions, and more than any resolver sends so.
const MAX_DATAGRAM: usize = 4096;

/// The addresses as programs on this machine see them: hosts file, search domains, cache.
pub(super) async fn system(host: &str, deadline: Instant) -> Result<Vec<DnsRecord>, Failure> {
    let found = timeout_at(deadline, tokio::net::lookup_host((host, 0)))
        .await
        .map_err(|_| silent())?
        .map_err(|error| not_resolved(&error, format!("{host:?} does not resolve")))?;
    let record = |address: SocketAddr| DnsRecord { address: address.ip(), ttl_seconds: None };
    let mut records: Vec<DnsRecord> = found.map(record).take(MAX_RECORDS).collect();
    records.dedup();
    Ok(records)
}

/// The A and AAAA records that one resolver answers with, in its order.
pub(super) async fn at(
    resolver: SocketAddr,
    host: &str,
    deadline: Instant,
) -> Result<Vec<DnsRecord>, Failure> {
    let both = join(ask(resolver, host, TYPE::A, record), ask(resolver, host, TYPE::AAAA, record));
    let (v4, v6) = timeout_at(deadline, both).await.map_err(|_| silent())?;
    // A resolver that knows one kind may refuse the other (dnsmasq without an upstream does).
    let mut records = match (v4, v6) {
        (Ok(v4), Ok(v6)) => [v4, v6].concat(),
        (Ok(one), Err(_)) | (Err(_), Ok(one)) if !one.is_empty() => one,
        (Err(failure), _) | (_, Err(failure)) => return Err(failure),
    };
    records.truncate(MAX_RECORDS);
    if records.is_empty() {
        return Err(failed(format!("{host:?} has no address")));
    }
    Ok(records)
}

/// A server behind a service (RFC 2782).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Srv {
    /// Its name, without a dot at the end.
    pub target: String,
    /// Its port.
    pub port: u16,
}

/// The servers behind a complete service name such as `_https._tcp.hub.example.com`, by the first
/// resolver of the system that answers.
///
/// # Errors
/// Why no resolver answers, or what it says.
pub async fn services(name: &str, deadline: Instant) -> Result<Vec<Srv>, Failure> {
    let conf = tokio::fs::read_to_string("/etc/resolv.conf").await.unwrap_or_default();
    services_by(&resolvers(&conf), name, deadline).await
}

async fn services_by(
    resolvers: &[SocketAddr],
    name: &str,
    deadline: Instant,
) -> Result<Vec<Srv>, Failure> {
    let left = deadline.saturating_duration_since(Instant::now());
    let each = left / u32::try_from(resolvers.len()).unwrap_or(u32::MAX).max(1);
    let mut first = None;
    for resolver in resolvers {
        match timeout_at(Instant::now() + each, ask(*resolver, name, TYPE::SRV, srv)).await {
            Ok(Ok(servers)) => return Ok(servers),
            Ok(Err(failure)) => {
                first.get_or_insert(failure);
            }
            Err(_) => {
                first.get_or_insert_with(silent);
            }
        }
    }
    // The first resolver's reason is the one that is said.
    Err(first.unwrap_or_else(silent))
}

/// The resolvers of the system's configuration, or the one on this machine (resolv.conf(5)).
fn resolvers(conf: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and(words.next())?;
        address.parse::<IpAddr>().ok().map(|ip| SocketAddr::from((ip, 53)))
    };
    let mut found: Vec<SocketAddr> = conf.lines().filter_map(address).take(3).collect();
    if found.is_empty() {
        found.push(SocketAddr::from((Ipv4Addr::LOCALHOST, 53)));
    }
    found
}

async fn ask<T>(
    resolver: SocketAddr,
    host: &str,
    kind: TYPE,
    pick: fn(&ResourceRecord<'_>) -> Option<T>,
) -> Result<Vec<T>, Failure> {
    let id: u16 = rand::random();
    let query = query(id, host, kind)?;
    let lost = |error: std::io::Error| {
        not_resolved(&error, format!("the resolver cannot be asked: {error}"))
    };
    let datagram = over_udp(resolver, &query, id).await.map_err(lost)?;
    match read(&datagram, id, host, pick)? {
        Reading::Whole(records) => Ok(records),
        Reading::Cut => {
            let whole = over_tcp(resolver, &query).await.map_err(lost)?;
            match read(&whole, id, host, pick)? {
                Reading::Whole(records) => Ok(records),
                Reading::Cut => Err(failed("the resolver cuts its answer short".to_owned())),
            }
        }
    }
}

fn query(id: u16, host: &str, kind: TYPE) -> Result<Vec<u8>, Failure> {
    let not_a_name = || failed(format!("{host:?} is not a DNS name"));
    let name = Name::new(host).map_err(|_| not_a_name())?;
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(name, kind.into(), CLASS::IN.into(), false));
    packet.build_bytes_vec().map_err(|_| not_a_name())
}

async fn over_udp(resolver: SocketAddr, query: &[u8], id: u16) -> std::io::Result<Vec<u8>> {
    let any: IpAddr = if resolver.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(resolver).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let datagram = buffer.get(..length).unwrap_or_default();
        // Anything else on this port is not the answer to this question.
        if datagram.starts_with(&id.to_be_bytes()) {
            return Ok(datagram.to_vec());
        }
    }
}

async fn over_tcp(resolver: SocketAddr, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    let length = u16::try_from(query.len()).map_err(std::io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(query).await?;
    let length = usize::from(stream.read_u16().await?);
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

enum Reading<T> {
    Whole(Vec<T>),
    /// Too long for UDP.
    Cut,
}

fn record(record: &ResourceRecord<'_>) -> Option<DnsRecord> {
    let address = match &record.rdata {
        RData::A(a) => IpAddr::from(Ipv4Addr::from_bits(a.address)),
        RData::AAAA(aaaa) => IpAddr::from(Ipv6Addr::from_bits(aaaa.address)),
        _ => return None,
    };
    Some(DnsRecord { address, ttl_seconds: Some(record.ttl) })
}

fn srv(record: &ResourceRecord<'_>) -> Option<Srv> {
    let RData::SRV(srv) = &record.rdata else { return None };
    let target = srv.target.to_string();
    // A target of "." says that there is no such service.
    (!target.is_empty() && srv.port > 0).then_some(Srv { target, port: srv.port })
}

fn read<T>(
    bytes: &[u8],
    id: u16,
    host: &str,
    pick: fn(&ResourceRecord<'_>) -> Option<T>,
) -> Result<Reading<T>, Failure> {
    let packet = Packet::parse(bytes)
        .ok()
        .filter(|packet| packet.id() == id && packet.has_flags(PacketFlag::RESPONSE))
        .ok_or_else(|| failed("the resolver's answer is not DNS".to_owned()))?;
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Ok(Reading::Cut);
    }
    match packet.rcode() {
        RCODE::NoError => {}
        RCODE::NameError => return Err(failed(format!("{host:?} does not exist there"))),
        other => return Err(failed(format!("the resolver answers {other:?}"))),
    }
    let records = packet.answers.iter().filter_map(pick);
    Ok(Reading::Whole(records.take(MAX_ANSWERS).collect()))
}

/// Why a name was not resolved. The system's resolver does not say that it had no descriptor, only
/// that it found nothing: so one is asked for.
pub(super) fn not_resolved(error: &std::io::Error, detail: String) -> Failure {
    let own = own_limit(error).or_else(|| {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
        own_limit(&socket.err()?)
    });
    match own {
        Some(own) => Failure { phase: Some(Phase::Dns), ..own },
        None => failed(detail),
    }
}

fn failed(detail: String) -> Failure {
    Failure { phase: Some(Phase::Dns), reason: Reason::DnsFailed, detail }
}

fn silent() -> Failure {
    let detail = "the resolver did not answer in time".to_owned();
    Failure { phase: Some(Phase::Dns), reason: Reason::Timeout, detail }
}

#[cfg(test)]
mod tests {
    use simple_dns::rdata::{A, AAAA, CNAME, SRV};

    use super::*;

    fn reply(id: u16, bend: impl FnOnce(&mut Packet<'_>)) -> Vec<u8> {
        let mut packet = Packet::new_reply(id);
        let record =
            |ttl, data| ResourceRecord::new(Name::new_unchecked("h.test"), CLASS::IN, ttl, data);
        let alias = RData::CNAME(CNAME(Name::new_unchecked("other.test")));
        packet.answers.push(record(60, alias));
        packet.answers.push(record(30, RData::A(A { address: 0x0a00_0001 })));
        packet.answers.push(record(20, RData::AAAA(AAAA { address: 1 })));
        bend(&mut packet);
        packet.build_bytes_vec().unwrap()
    }

    #[test]
    fn addresses_of_both_families_keep_order_and_lifetime_and_aliases_are_passed_over() {
        let Ok(Reading::Whole(records)) = read(&reply(7, |_| {}), 7, "h.test", record) else {
            panic!()
        };
        let told: Vec<_> = records.iter().map(|r| (r.address.to_string(), r.ttl_seconds)).collect();
        assert_eq!(told, [("10.0.0.1".into(), Some(30)), ("::1".into(), Some(20))]);
    }

    #[test]
    fn answers_that_cannot_be_used_say_why() {
        let detail = |bytes: &[u8]| match read(bytes, 7, "h.test", record) {
            Err(failure) => failure.detail,
            Ok(Reading::Cut) => "cut".to_owned(),
            Ok(Reading::Whole(_)) => "whole".to_owned(),
        };
        assert_eq!(detail(b"\0\x07 no"), "the resolver's answer is not DNS");
        assert_eq!(detail(&reply(8, |_| {})), "the resolver's answer is not DNS");
        let gone = reply(7, |packet| *packet.rcode_mut() = RCODE::NameError);
        assert_eq!(detail(&gone), "\"h.test\" does not exist there");
        let refused = reply(7, |packet| *packet.rcode_mut() = RCODE::Refused);
        assert_eq!(detail(&refused), "the resolver answers Refused");
        assert_eq!(detail(&reply(7, |packet| packet.set_flags(PacketFlag::TRUNCATION))), "cut");
    }

    #[test]
    fn servers_of_a_service_are_read_with_their_ports() {
        let answer = reply(7, |packet| {
            for (port, target) in [(8080, "core-0.core.test"), (0, "none.test")] {
                let target = Name::new_unchecked(target);
                let data = RData::SRV(SRV { priority: 0, weight: 1, port, target });
                let name = Name::new_unchecked("_http._tcp.core.test");
                packet.answers.push(ResourceRecord::new(name, CLASS::IN, 9, data));
            }
        });
        let Ok(Reading::Whole(found)) = read(&answer, 7, "x", srv) else { panic!() };
        assert_eq!(found, [Srv { target: "core-0.core.test".to_owned(), port: 8080 }]);
    }

    #[test]
    fn resolvers_are_those_of_the_system_or_the_one_on_this_machine() {
        let shown = |conf| resolvers(conf).iter().map(ToString::to_string).collect::<Vec<_>>();
        let conf = "# nameserver 9.9.9.9\nsearch test\nnameserver 10.0.0.2\nnameserver fd00::2\n";
        assert_eq!(shown(conf), ["10.0.0.2:53", "[fd00::2]:53"]);
        assert_eq!(shown("search test\n"), ["127.0.0.1:53"]);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(0u8.., 0..600)) {
            let _ = read(&bytes, 7, "h.test", record);
            let _ = read(&bytes, 7, "h.test", srv);
        }
    }
}
