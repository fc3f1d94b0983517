//! Questions about another node: `?node=NAME` on what operators look at. They go over the links between
//! nodes, so that any node tells of all, and are answered there as by its own HTTP surface.

use std::sync::{Arc, Weak};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt as _;
use serde_json::Value;
use sterna_core::cluster::NodeInfo;
use sterna_core::link::asking::{Answerer, Question, Told};
use sterna_proto::{ErrorCode, NodeId, v1};
use tower::ServiceExt as _;

use super::answer::ApiError;
use super::caller::Caller;
use super::{BODY_BYTES, Shared, Surface};

/// What can be asked of another node begins so.
const OPERATE: &str = "/api/v1/operate/";

/// Largest answer that is passed on to a link.
const ANSWER_BYTES: usize = 1024 * 1024;

/// On a request that another node of the cluster has passed on: whoever asked was allowed to look there.
#[derive(Debug, Clone, Copy)]
pub(super) struct OfPeer;

/// What another node answers to a question, as its HTTP surface would.
pub(super) async fn relayed(
    surface: &Surface,
    node: &NodeId,
    question: Question,
) -> Result<Response, ApiError> {
    let own = &surface.parts.node.config().node;
    let Some(router) = surface.parts.node.router() else {
        let message = "this node is alone; there is no other";
        return Err(ApiError(v1::Error::new(ErrorCode::UnknownChannel, message)));
    };
    let told = router.asking().ask(own, node, question).await?;
    let status = StatusCode::from_u16(told.status).unwrap_or(StatusCode::BAD_GATEWAY);
    Ok((status, [(header::CONTENT_TYPE, "application/json")], told.body).into_response())
}

/// The result in another node's answer; `None`: it has none, or does not answer.
pub(super) async fn told(surface: &Surface, node: &NodeId, question: Question) -> Option<Value> {
    let own = &surface.parts.node.config().node;
    let told = surface.parts.node.router()?.asking().ask(own, node, question).await.ok()?;
    let mut body: Value = serde_json::from_slice(&told.body).ok()?;
    (told.status == 200).then(|| body["result"].take())
}

/// The other nodes that are alive.
pub(super) fn others(surface: &Surface) -> Vec<NodeInfo> {
    let node = &surface.parts.node;
    let own = &node.config().node;
    let alive = node.observed().into_iter().filter(|seen| seen.alive).map(|seen| seen.info);
    alive.filter(|info| info.name != *own).collect()
}

/// Asks the node that the query names, if it is another one.
pub(super) async fn elsewhere(State(surface): Shared, request: Request, next: Next) -> Response {
    let Some((node, path)) = target(request.uri()) else { return next.run(request).await };
    let (mut parts, body) = request.into_parts();
    let own = &surface.parts.node.config().node;
    let asked = async {
        let caller = Caller::from_request_parts(&mut parts, &surface).await?;
        caller.check_observer("look at another node")?;
        let node = NodeId::new(&node)?;
        if node == *own {
            return Ok(None);
        }
        let body = match parts.method {
            Method::POST => Some(to_bytes(body, BODY_BYTES).await.map_err(unreadable)?),
            _ => None,
        };
        let question = Question { path: path.clone(), body };
        relayed(&surface, &node, question).await.map(Some)
    };
    match asked.await {
        Ok(Some(told)) => told,
        // This node itself was named.
        Ok(None) => match path.parse::<Uri>() {
            Ok(uri) => {
                let mut request = Request::from_parts(parts, Body::empty());
                *request.uri_mut() = uri;
                next.run(request).await
            }
            Err(error) => ApiError::bad_request(error.to_string()).into_response(),
        },
        Err(error) => error.into_response(),
    }
}

fn unreadable(error: axum::Error) -> ApiError {
    ApiError::bad_request(error.to_string())
}

/// The node that a query names, and the path and query without it.
pub(super) fn target(uri: &Uri) -> Option<(String, String)> {
    let query = uri.query()?;
    let named = query.split('&').find_map(|pair| pair.strip_prefix("node="))?;
    let rest: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("node=")).collect();
    let path = match rest.is_empty() {
        true => uri.path().to_owned(),
        false => format!("{}?{}", uri.path(), rest.join("&")),
    };
    // Names of nodes need no escapes.
    Some((named.to_owned(), path))
}

/// Answers questions of other nodes' operators, as the HTTP surface answers its own.
pub(super) struct Answers {
    routes: Router<Arc<Surface>>,
    /// The surface has the node, which has this.
    surface: Weak<Surface>,
}

impl Answers {
    pub(super) fn new(routes: Router<Arc<Surface>>, surface: &Arc<Surface>) -> Arc<Self> {
        Arc::new(Self { routes, surface: Arc::downgrade(surface) })
    }

    fn begin(&self, question: Question) -> Result<(Router, Request), ApiError> {
        let Some(surface) = self.surface.upgrade() else {
            let error = v1::Error::new(ErrorCode::Unavailable, "the node ends");
            return Err(ApiError(error));
        };
        Ok((self.routes.clone().with_state(surface), request(question)?))
    }
}

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answers").finish_non_exhaustive()
    }
}

impl Answerer for Answers {
    fn answer(&self, question: Question) -> futures_util::future::BoxFuture<'static, Told> {
        let begun = self.begin(question);
        async move {
            let response = match begun {
                Ok((routes, request)) => match routes.oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                },
                Err(refused) => refused.into_response(),
            };
            let status = response.status().as_u16();
            match to_bytes(response.into_body(), ANSWER_BYTES).await {
                Ok(body) => Told { status, body },
                Err(error) => Told { status: 502, body: Bytes::from(error.to_string()) },
            }
        }
        .boxed()
    }
}

/// Nothing but what operators look at can be asked, whatever a peer says.
fn request(question: Question) -> Result<Request, ApiError> {
    let Question { path, body } = question;
    if !path.starts_with(OPERATE) {
        return Err(ApiError::bad_request("a node is asked what operators look at, nothing else"));
    }
    let built = match body {
        Some(body) => Request::post(path)
            .header(header::CONTENT_TYPE, "application/json")
            .extension(OfPeer)
            .body(Body::from(body)),
        None => Request::get(path).extension(OfPeer).body(Body::empty()),
    };
    built.map_err(|error| ApiError::bad_request(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_is_taken_out_of_the_query() {
        let of = |text: &'static str| target(&Uri::from_static(text));
        let path = "/api/v1/operate/session";
        assert_eq!(of("/api/v1/operate/session?session=7"), None);
        assert_eq!(of("/api/v1/operate/session"), None);
        assert_eq!(
            of("/api/v1/operate/session?session=7&node=e1"),
            Some(("e1".into(), format!("{path}?session=7")))
        );
        assert_eq!(of("/api/v1/operate/session?node=e1"), Some(("e1".into(), path.into())));
        assert_eq!(
            of("/api/v1/operate/session?node=e1&a=1&b=2"),
            Some(("e1".into(), format!("{path}?a=1&b=2")))
        );
    }

    #[test]
    fn a_peer_asks_what_operators_look_at_and_nothing_else() {
        let ask = |path: &str| request(Question { path: path.into(), body: None });
        assert!(ask("/api/v1/operate/node").is_ok());
        for path in ["/api/v1/publish", "/metrics", "", "/api/v1/operate\n"] {
            assert!(ask(path).is_err(), "{path:?}");
        }
    }
}
