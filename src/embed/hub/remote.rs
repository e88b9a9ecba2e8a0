//! What does a hub answer when it is asked for a file?
//!
//! One request at a time, redirects included, to the headers of the last answer and a body that is not read yet.
//! Redirects are followed here and not by the client, since a hub says what a file is on the answer that leads to
//! somebody else's servers, and since those must not see the token. A hub is known by its naming the commit. No error
//! shows the token, or what a URL has in front of its host or behind its path. Used by `transfer`.

use std::time::Duration;

use ureq::{
    Agent, Body, BodyReader,
    http::{HeaderMap, Response, Uri, header},
    tls::{RootCerts, TlsConfig},
};

use super::{HubModel, digest::Checksum};
use crate::error::{PulseDBError, Result};

/// Most answers of one request that lead elsewhere; a hub's are one or two.
const MAX_REDIRECTS: usize = 8;
/// Until a host's address is known, and again until it is connected.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Until the next byte arrives, of an answer's head or of its body.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);
/// Until an answer's head is complete.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Before the first of several tries; each next waits twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// What a hub says beside HTTP's own headers.
const COMMIT: &str = "x-repo-commit";
const LINKED_TAG: &str = "x-linked-etag";

/// What somebody without a network can do.
const OFFLINE: &str = "check the network, the proxy (HTTPS_PROXY, NO_PROXY) and the system's certificates; without a network, download the model elsewhere and copy its directory";

/// How long is waited; tests have less time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) silence: Duration,
    pub(super) first_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            silence: SILENCE_TIMEOUT,
            first_pause: FIRST_PAUSE,
        }
    }
}

/// Why there is no file.
#[derive(Debug)]
pub(super) enum Failure {
    /// The next try may do better.
    Passing(PulseDBError),
    /// It would not.
    Lasting(PulseDBError),
}

impl From<PulseDBError> for Failure {
    fn from(error: PulseDBError) -> Self {
        Self::Lasting(error)
    }
}

/// What a request for a file led to; refusals with what to tell of them.
pub(super) enum Reply {
    /// The hub has no such file.
    Absent(PulseDBError),
    /// What was asked for is not within the file: it is not what it was.
    Outside(PulseDBError),
    Content(Content),
}

/// A file, or the rest of one.
pub(super) struct Content {
    /// Where it comes from, for errors.
    pub(super) url: String,
    /// Which byte of the file is the body's first.
    pub(super) from: u64,
    /// Bytes of the whole file.
    pub(super) total: Option<u64>,
    /// What tells this content from any other at the same place.
    pub(super) tag: Option<String>,
    /// What the hub says that the file is.
    pub(super) checksum: Option<Checksum>,
    pub(super) body: BodyReader<'static>,
}

/// A repository on a hub.
pub(super) struct Remote<'a> {
    agent: Agent,
    model: &'a HubModel,
    /// The URL of the revision, up to the file's name.
    base: String,
    commit: Option<String>,
    pub(super) patience: Patience,
    /// Whether anybody has answered yet. Until then one try is enough: without a network none succeeds.
    pub(super) has_answered: bool,
}

impl<'a> Remote<'a> {
    pub(super) fn new(model: &'a HubModel, patience: Patience) -> Self {
        // Certificates are judged as the system judges them, so that an organisation's own authorities count.
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier);
        let agent = Agent::config_builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("pulsedb/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_per_read(Some(patience.silence))
            .timeout_per_write(Some(patience.silence))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .build()
            .new_agent();
        Self {
            agent,
            base: base(model, &model.revision),
            model,
            commit: None,
            patience,
            has_answered: false,
        }
    }

    /// What the hub has named.
    pub(super) fn commit(&self) -> Option<String> {
        self.commit.clone()
    }

    /// Asks for a file from its byte `from` on.
    pub(super) fn get(&mut self, file: &str, from: u64) -> Result<Reply, Failure> {
        let mut url = format!("{}/{file}", self.base);
        let mut checksum = None;
        for _ in 0..=MAX_REDIRECTS {
            let response = self.call(&url, from)?;
            let headers = response.headers();
            let is_redirect = response.status().is_redirection();
            if let Some(commit) = text(headers, COMMIT) {
                if self.commit.is_none() && is_commit(commit) {
                    // The files that follow are of the same commit, whatever becomes of a branch.
                    self.base = base(self.model, commit);
                    self.commit = Some(commit.to_owned());
                }
                let own = text(headers, "etag").filter(|_| !is_redirect);
                let tag = text(headers, LINKED_TAG).or(own);
                checksum = checksum.or_else(|| Checksum::of_tag(tag?));
            }
            if !is_redirect {
                return self.reply(&url, checksum, response);
            }
            let location = text(headers, header::LOCATION.as_str()).unwrap_or_default();
            url = followed(&url, location).ok_or_else(|| {
                let status = Some(response.status().as_u16());
                let what = format!("it leads to {:?}, which is not followed", shown(location));
                Failure::Lasting(refusal(&url, status, what))
            })?;
        }
        let what = format!("it leads from one place to another more than {MAX_REDIRECTS} times");
        Err(Failure::Lasting(refusal(&url, None, what)))
    }

    fn call(&mut self, url: &str, from: u64) -> Result<Response<Body>, Failure> {
        let mut request = self.agent.get(url);
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        if let Some(token) = self
            .model
            .token
            .as_ref()
            .filter(|_| self.may_see_the_token(url))
        {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = request.call().map_err(|error| {
            let what = format!("{error}; {OFFLINE}");
            let refusal = refusal(url, None, what);
            match error {
                ureq::Error::Io(_)
                | ureq::Error::Timeout(_)
                | ureq::Error::HostNotFound
                | ureq::Error::ConnectionFailed
                | ureq::Error::ConnectProxyFailed(_)
                | ureq::Error::Protocol(_) => Failure::Passing(refusal),
                _ => Failure::Lasting(refusal),
            }
        })?;
        self.has_answered = true;
        Ok(response)
    }

    fn may_see_the_token(&self, url: &str) -> bool {
        let (endpoint, target) = (Place::of(&self.base), Place::of(url));
        endpoint.is_some_and(|place| place.is_private() && Some(place) == target)
    }

    fn reply(
        &self,
        url: &str,
        checksum: Option<Checksum>,
        response: Response<Body>,
    ) -> Result<Reply, Failure> {
        let status = response.status().as_u16();
        let headers = response.headers();
        let refused = |what: &str| refusal(url, Some(status), what.to_owned());
        let (from, total) = match status {
            200 => (0, number(headers, header::CONTENT_LENGTH.as_str())),
            206 => {
                let range = text(headers, header::CONTENT_RANGE.as_str()).and_then(range);
                range.ok_or_else(|| {
                    Failure::Lasting(refused("it answers a part without saying which"))
                })?
            }
            404 => {
                let what = "not there; check repository, revision and endpoint";
                return Ok(Reply::Absent(refused(what)));
            }
            416 => return Ok(Reply::Outside(refused("the file has become shorter"))),
            401 | 403 => {
                let token = match (&self.model.token, self.may_see_the_token(&self.base)) {
                    (None, _) => "give a token in HF_TOKEN",
                    (Some(_), true) => "the token that was sent does not do",
                    (Some(_), false) => "the token was not sent, since that takes https",
                };
                let what = format!(
                    "refused: the repository does not exist, is private, or wants its terms accepted; {token}"
                );
                return Err(Failure::Lasting(refused(&what)));
            }
            408 | 425 | 429 | 500.. => {
                return Err(Failure::Passing(refused(
                    "the server cannot answer now; try again later, what has come is kept",
                )));
            }
            _ => return Err(Failure::Lasting(refused("an answer that is none"))),
        };
        // A weak tag says that the content means the same, which does for readers and not for bytes.
        let tag = text(headers, header::ETAG.as_str()).filter(|tag| tag.starts_with('"'));
        Ok(Reply::Content(Content {
            url: shown(url),
            from,
            total,
            tag: tag.map(str::to_owned),
            checksum,
            body: response.into_body().into_reader(),
        }))
    }
}

/// Refuses an endpoint that nothing can be asked at.
pub(super) fn check_endpoint(endpoint: &str) -> Result<()> {
    let is_one = Place::of(endpoint).is_some() && !endpoint.contains(['?', '#']);
    match is_one {
        true => Ok(()),
        false => Err(PulseDBError::validation(
            "endpoint",
            format!("{:?}", shown(endpoint)),
            "it is a URL that begins with https:// or http://, without a query",
        )),
    }
}

/// A URL as it may be shown: without what is in front of its host, and without its query, which may be signed.
pub(super) fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}

pub(super) fn refusal(url: &str, status: Option<u16>, what: String) -> PulseDBError {
    PulseDBError::Download {
        url: shown(url),
        status,
        what,
    }
}

fn base(model: &HubModel, revision: &str) -> String {
    // A revision is one part of the path, even where its name has several.
    let revision = revision.replace('/', "%2F");
    let endpoint = model.endpoint.trim_end_matches('/');
    format!("{endpoint}/{}/resolve/{revision}", model.repository)
}

fn is_commit(name: &str) -> bool {
    matches!(name.len(), 40 | 64) && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Who is asked: what has to be the same for a token to be sent.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    is_encrypted: bool,
    host: String,
    port: u16,
}

impl Place {
    fn of(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let (is_encrypted, port) = match uri.scheme_str()? {
            "https" => (true, 443),
            "http" => (false, 80),
            _ => return None,
        };
        Some(Self {
            is_encrypted,
            host: uri.host()?.to_ascii_lowercase(),
            port: uri.port_u16().unwrap_or(port),
        })
    }

    fn is_private(&self) -> bool {
        self.is_encrypted || matches!(self.host.as_str(), "localhost" | "127.0.0.1" | "[::1]")
    }
}

/// Where a redirect leads: to a URL, or a path on the same server; never from https to http.
fn followed(url: &str, location: &str) -> Option<String> {
    let from = Place::of(url)?;
    let target = if location.starts_with('/') && !location.starts_with("//") {
        let authority = url.find("://")? + 3;
        let path = url
            .get(authority..)?
            .find('/')
            .map_or(url.len(), |at| authority + at);
        format!("{}{location}", url.get(..path)?)
    } else {
        location.to_owned()
    };
    let to = Place::of(&target)?;
    (to.is_encrypted || !from.is_encrypted).then_some(target)
}

/// First byte and length of the whole, of `bytes 5-9/10` or `bytes 5-9/*`.
fn range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    let total = match total {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    Some((first.parse().ok()?, total))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_followed_where_they_may_lead() {
        let url = "https://hub.example:8443/a/b/resolve/main/config.json";
        for (location, expected) in [
            (
                "/api/x?etag=%22a%22",
                Some("https://hub.example:8443/api/x?etag=%22a%22"),
            ),
            (
                "https://cdn.example/x?Signature=y",
                Some("https://cdn.example/x?Signature=y"),
            ),
            // Neither in the clear, nor relative to what, nor anything else than HTTP.
            ("http://cdn.example/x", None),
            ("//cdn.example/x", None),
            ("x", None),
            ("", None),
            ("ftp://cdn.example/x", None),
        ] {
            assert_eq!(followed(url, location).as_deref(), expected, "{location}");
        }
        let up = followed("http://mirror.example", "https://hub.example/x");
        assert_eq!(up.as_deref(), Some("https://hub.example/x"));
        let same = followed("http://mirror.example", "/x");
        assert_eq!(same.as_deref(), Some("http://mirror.example/x"));
    }

    #[test]
    fn token_goes_to_the_endpoint_alone_and_not_in_the_clear() {
        let model = |endpoint: &str| HubModel {
            endpoint: endpoint.into(),
            token: Some("secret".into()),
            ..HubModel::default()
        };
        let may = |endpoint: &str, url: &str| {
            Remote::new(&model(endpoint), Patience::default()).may_see_the_token(url)
        };
        let hub = "https://hub.example/";
        assert!(may(hub, "https://HUB.example:443/api/x"));
        for other in [
            "https://cdn.example/x",
            "https://hub.example:444/",
            "http://hub.example/",
        ] {
            assert!(!may(hub, other), "{other}");
        }
        assert!(!may("http://hub.example", "http://hub.example/x"));
        assert!(may("http://127.0.0.1:8080/hub", "http://127.0.0.1:8080/x"));
        let shown = format!("{:?}", model(hub));
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn shown_urls_keep_secrets() {
        let url = "https://user:word@hub.example:8443/a/b?Signature=x#y";
        assert_eq!(shown(url), "https://hub.example:8443/a/b");
        assert_eq!(shown("https://user@hub.example"), "https://hub.example");
        assert_eq!(shown("/a?b"), "/a");
    }

    #[test]
    fn ranges_are_read() {
        assert_eq!(range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(range("bytes 5-9/*"), Some((5, None)));
        for wrong in [
            "",
            "bytes */10",
            "bytes 5-9",
            "lines 5-9/10",
            "bytes -9/10",
            "bytes 5-9/x",
        ] {
            assert_eq!(range(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn endpoints_are_urls() {
        for right in ["https://huggingface.co", "http://127.0.0.1:8080/hub/"] {
            assert!(check_endpoint(right).is_ok(), "{right}");
        }
        for wrong in [
            "",
            "huggingface.co",
            "ftp://x.example",
            "https://x.example?a",
            "https://",
        ] {
            assert!(check_endpoint(wrong).is_err(), "{wrong}");
        }
    }
}
