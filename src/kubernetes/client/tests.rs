//! The limits, around an apiserver that a test makes up; time stands still but for what is waited for.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body as AxumBody;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::ListParams;
use kube::client::Body as KubeBody;
use kube::runtime::watcher;
use tower::service_fn;

use crate::kubernetes::client::*;

/// A client of an apiserver that answers so.
fn client<F, A>(heard: &WatchActivity, answer: F) -> Client
where
    F: Fn(Request<KubeBody>) -> A + Send + Sync + 'static,
    A: Future<Output = Response<AxumBody>> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, BoxError>(answer.await) }
    });
    Client::new(Limits::new(heard.clone()).layer(service), "default")
}

fn json(status: u16, body: &serde_json::Value) -> Response<AxumBody> {
    let response = Response::builder().status(status);
    response.body(AxumBody::from(body.to_string())).unwrap()
}

fn list() -> serde_json::Value {
    serde_json::json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "5"}, "items": []})
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_response_times_out() {
    let client = client(&WatchActivity::default(), |_| std::future::pending());
    let started = Instant::now();
    let api = Api::<ConfigMap>::default_namespaced(client);
    let answer = timeout(2 * REQUEST_LIMIT, api.get("a")).await.expect("it ends");
    let error = crate::error_chain::one_line(&answer.unwrap_err());
    assert!(error.contains("no answer from the apiserver within 30s"), "{error}");
    assert_eq!(started.elapsed(), REQUEST_LIMIT);
}

#[tokio::test(start_paused = true)]
async fn a_response_with_an_endless_body_times_out() {
    let client = client(&WatchActivity::default(), |_| async {
        Response::new(AxumBody::from_stream(
            futures::stream::pending::<Result<Bytes, BoxError>>(),
        ))
    });
    let started = Instant::now();
    let api = Api::<ConfigMap>::default_namespaced(client);
    let answer = timeout(2 * REQUEST_LIMIT, api.get("a")).await.expect("it ends");
    assert!(answer.is_err());
    assert_eq!(started.elapsed(), REQUEST_LIMIT);
}

#[tokio::test(start_paused = true)]
async fn concurrent_requests_are_limited_and_all_complete() {
    let (in_progress, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = (Arc::clone(&in_progress), Arc::clone(&most));
    let client = client(&WatchActivity::default(), move |_| {
        let (in_progress, most) = counted.clone();
        async move {
            let now = in_progress.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(1)).await;
            in_progress.fetch_sub(1, Ordering::SeqCst);
            json(200, &serde_json::json!({"metadata": {"name": "a"}}))
        }
    });
    let api = Api::<Secret>::default_namespaced(client);
    let answers = futures::future::join_all((0..1200).map(|_| api.get("a"))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(most.load(Ordering::SeqCst), MOST_REQUESTS);
}

#[tokio::test(start_paused = true)]
async fn a_silent_watch_ends_and_its_age_is_recorded() {
    let heard = WatchActivity::default();
    let client = client(&heard, |request: Request<KubeBody>| async move {
        if Asks::of(&request) == Asks::Watch {
            Response::new(AxumBody::from_stream(
                futures::stream::pending::<Result<Bytes, BoxError>>(),
            ))
        } else {
            json(200, &list())
        }
    });
    let api = Api::<ConfigMap>::default_namespaced(client);
    let path = api.resource_url().to_owned();
    assert_eq!(heard.age(&path), None);
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
    let started = Instant::now();
    for _ in 0..2 {
        assert!(events.next().await.unwrap().is_ok(), "the list");
    }
    assert_eq!(heard.age(&path), Some(Duration::ZERO));
    let error = events.next().await.unwrap().unwrap_err().to_string();
    assert!(error.contains("no answer from the apiserver"), "{error}");
    assert_eq!(started.elapsed(), WATCH_IDLE_LIMIT);
    assert_eq!(heard.age(&path), Some(WATCH_IDLE_LIMIT));
}

/// Over TCP, with kube's own client below: it must not wait on its own account.
#[tokio::test]
async fn a_long_retry_after_is_an_error_without_a_retry() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let router = axum::Router::new().fallback(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        async { (axum::http::StatusCode::TOO_MANY_REQUESTS, [("retry-after", "3600")], "") }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let clients = Clients::new(Config::new(url)).unwrap();
    for (client, so_far) in [(clients.main, 1), (clients.election, 2)] {
        let answer = Api::<ConfigMap>::default_namespaced(client)
            .list(&ListParams::default())
            .await;
        assert!(matches!(answer, Err(kube::Error::Api(status)) if status.code == 429));
        assert_eq!(asked.load(Ordering::SeqCst), so_far);
    }
}
