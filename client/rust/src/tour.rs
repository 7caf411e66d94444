//! Calls every RPC once, then makes one call that must fail.

use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::api::batch_recommend_response::entry;
use crate::api::catalog_service_client::CatalogServiceClient;
use crate::api::list_top_items_request::Order;
use crate::api::recommender_service_client::RecommenderServiceClient;
use crate::api::stream_recommend_response;
use crate::api::user::Identity;
use crate::api::{
    BatchRecommendRequest, EmbedNewItemRequest, EmbedNewUserRequest, Event, ExplainRequest, GetItemMapRequest,
    GetModelRequest, Item, ItemEvent, ItemRating, ListModelsRequest, ListTopItemsRequest, Model, PredictRequest, Rating,
    RecommendRequest, SearchItemsRequest, SimilarItemsRequest, StreamRecommendRequest, StreamRecommendResponse, User,
    UserEmbedding,
};
use crate::connection::{Bearer, Connection};
use crate::lines::{describe, number, print_result, print_scored};

/// Why the tour ended early.
pub enum Failure {
    /// A setting is wrong.
    Setting(String),
    /// A call failed.
    Call(Status),
    /// The server sent a response that is not valid.
    Response(&'static str),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Failure::Call(status)
    }
}

type Service = InterceptedService<Channel, Bearer>;

pub struct Tour {
    connection: Connection,
    catalog: CatalogServiceClient<Service>,
    recommender: RecommenderServiceClient<Service>,
    user_id: String,
    words: String,
}

fn user(identity: Identity) -> Option<User> {
    Some(User { identity: Some(identity) })
}

fn recommend_for(user: Option<User>, page_size: i32) -> RecommendRequest {
    RecommendRequest { user, page_size, return_items: true, ..Default::default() }
}

/// Builds a request with three ratings; with three events if the model learnt from events.
fn new_user(model: &Model, item_ids: &[String]) -> EmbedNewUserRequest {
    let numbered = item_ids.iter().cloned().enumerate();
    let Some(events) = &model.events else {
        let rating = |i| if i < 2 { model.rating_max } else { model.rating_min };
        let ratings = numbered.map(|(i, item_id)| Rating { item_id, rating: rating(i) }).collect();
        return EmbedNewUserRequest { ratings, ..Default::default() };
    };
    let positive = events.types.iter().find(|kind| !kind.negative);
    let event_type = positive.map(|kind| kind.name.clone()).unwrap_or_default();
    let event = |(i, item_id)| Event {
        item_id,
        event_type: event_type.clone(),
        count: if i < 2 { 2.0 } else { 1.0 },
        time: events.newest_event_time,
    };
    EmbedNewUserRequest { events: numbered.map(event).collect(), ..Default::default() }
}

/// Builds a request with the first rating or event of the new user, as one of a known user of a new item.
fn new_item(new_user: &EmbedNewUserRequest, user_id: &str) -> EmbedNewItemRequest {
    let rating = |r: &Rating| ItemRating { user_id: user_id.to_owned(), rating: r.rating };
    let event = |e: &Event| ItemEvent {
        user_id: user_id.to_owned(),
        event_type: e.event_type.clone(),
        count: e.count,
        time: e.time,
    };
    EmbedNewItemRequest {
        item: Some(Item { genres: vec!["Drama".to_owned()], release_year: 2000, ..Default::default() }),
        ratings: new_user.ratings.iter().take(1).map(rating).collect(),
        events: new_user.events.iter().take(1).map(event).collect(),
        ..Default::default()
    }
}

/// Calls a method of a client through `Connection::call`. A client is cheap to clone: clones share the channel.
macro_rules! call {
    ($tour:ident.$client:ident.$method:ident($request:expr)) => {
        $tour.connection.call($request, async |request| $tour.$client.clone().$method(request).await).await
    };
}

impl Tour {
    pub fn new(connection: Connection, user_id: String, words: String) -> Self {
        let catalog = CatalogServiceClient::new(connection.channel.clone());
        let recommender = RecommenderServiceClient::new(connection.channel.clone());
        Tour { connection, catalog, recommender, user_id, words }
    }

    pub async fn run(&self) -> Result<(), Failure> {
        let model = self.models().await?;
        let item_ids = self.items().await?;
        let best = self.known(&model, &item_ids).await?;
        let embedding = self.embed(&model, &item_ids).await?;
        self.many(embedding).await?;
        self.explain(best).await?;
        self.deliberate_error().await
    }

    fn user(&self) -> Option<User> {
        user(Identity::UserId(self.user_id.clone()))
    }

    async fn models(&self) -> Result<Model, Failure> {
        let described = call!(self.catalog.get_model(GetModelRequest::default()))?;
        let model = described.model.ok_or(Failure::Response("GetModel answered without a model"))?;
        let limits = described.limits.ok_or(Failure::Response("GetModel answered without limits"))?;
        let (lowest, highest) = (number(model.rating_min), number(model.rating_max));
        println!(
            "model {} {} {} {} {} {} {lowest} {highest}",
            model.name, model.architecture, model.objective, model.user_count, model.item_count, model.factor_count
        );
        println!(
            "limits {} {} {} {}",
            limits.max_page_size, limits.max_items_per_request, limits.max_requests_per_batch, limits.max_queue_size
        );
        for kind in model.events.iter().flat_map(|events| &events.types) {
            let sign = if kind.negative { "negative" } else { "positive" };
            println!("event {} {} {sign} {}", number(kind.weight), kind.event_count, kind.name);
        }
        let request = ListModelsRequest { page_size: 10, ..Default::default() };
        for listed in call!(self.catalog.list_models(request))?.models {
            println!("listed {} {}", listed.name, listed.state().as_str_name());
        }
        Ok(model)
    }

    async fn items(&self) -> Result<Vec<String>, Failure> {
        let request = SearchItemsRequest { query: self.words.clone(), page_size: 3, ..Default::default() };
        let found = call!(self.catalog.search_items(request))?.items;
        for (rank, item) in (1..).zip(&found) {
            println!("search {rank} {} {} {} {}", item.item_id, item.release_year, item.genres.join("|"), item.title);
        }
        let request = ListTopItemsRequest { order: Order::MostRated as i32, page_size: 3, ..Default::default() };
        let top = call!(self.catalog.list_top_items(request))?.items;
        for (rank, item) in (1..).zip(&top) {
            println!("top {rank} {} {} {} {}", item.item_id, item.rating_count, number(item.bias), item.title);
        }
        let request = GetItemMapRequest { max_items: 3, ..Default::default() };
        for (rank, point) in (1..).zip(call!(self.catalog.get_item_map(request))?.points) {
            println!("map {rank} {} {} {} {}", point.item_id, number(point.x), number(point.y), point.title);
        }
        Ok(top.into_iter().map(|item| item.item_id).collect())
    }

    /// Requests predictions for a user of the training data and returns the best item.
    async fn known(&self, model: &Model, item_ids: &[String]) -> Result<String, Failure> {
        // Models with another objective order items and predict no ratings.
        if model.objective == "rating" {
            let request = PredictRequest { user: self.user(), item_ids: item_ids.to_vec(), ..Default::default() };
            let predicted = call!(self.recommender.predict(request))?;
            for (item_id, rating) in item_ids.iter().zip(predicted.ratings) {
                println!("predict {} {item_id} {}", self.user_id, number(rating));
            }
        }
        let recommended = call!(self.recommender.recommend(recommend_for(self.user(), 3)))?.results;
        print_scored("recommend", &recommended);
        let item_ids = item_ids.iter().take(1).cloned().collect();
        let request = SimilarItemsRequest { item_ids, page_size: 3, return_items: true, ..Default::default() };
        let similar = call!(self.recommender.similar_items(request))?.results;
        for (rank, result) in (1..).zip(similar) {
            let title = result.item.unwrap_or_default().title;
            println!("similar {rank} {} {} {title}", result.item_id, number(result.score));
        }
        let best = recommended.into_iter().next().ok_or(Failure::Response("nothing to recommend"))?;
        Ok(best.item_id)
    }

    /// Makes a new user. The caller must store the embedding, because the server does not.
    async fn embed(&self, model: &Model, item_ids: &[String]) -> Result<UserEmbedding, Failure> {
        let request = new_user(model, item_ids);
        let embedded = call!(self.recommender.embed_new_user(request.clone()))?;
        let embedding = embedded.embedding.ok_or(Failure::Response("EmbedNewUser answered without an embedding"))?;
        let (bias, fit) = (number(embedding.bias), number(embedded.fit_rmse));
        println!(
            "embed {} {bias} {fit} {}",
            embedding.factors.len(),
            embedded.used_rating_count + embedded.used_event_count
        );
        if model.supports_new_items {
            let arrived = call!(self.recommender.embed_new_item(new_item(&request, &self.user_id)))?;
            let used = arrived.used_rating_count + arrived.used_event_count;
            let item = arrived.embedding.ok_or(Failure::Response("EmbedNewItem answered without an embedding"))?;
            let (bias, fit) = (number(item.bias), number(arrived.fit_rmse));
            println!("new-item {} {bias} {fit} {used}", item.factors.len());
        }
        Ok(embedding)
    }

    /// Requests recommendations for three users, one of them unknown: in one call, then over one stream.
    async fn many(&self, embedding: UserEmbedding) -> Result<(), Failure> {
        let messages: Vec<_> = [
            ("known", self.user()),
            ("new", user(Identity::Embedding(embedding))),
            ("unknown", user(Identity::UserId("nobody".to_owned()))),
        ]
        .into_iter()
        .map(|(id, user)| StreamRecommendRequest { request_id: id.to_owned(), request: Some(recommend_for(user, 2)) })
        .collect();

        let requests = messages.iter().filter_map(|message| message.request.clone()).collect();
        let batch = call!(self.recommender.batch_recommend(BatchRecommendRequest { requests, ..Default::default() }))?;
        for (i, entry) in batch.entries.iter().enumerate() {
            match &entry.result {
                Some(entry::Result::Response(response)) => print_result(&format!("batch {i}"), Ok(response)),
                Some(entry::Result::Error(error)) => print_result(&format!("batch {i}"), Err(error)),
                None => return Err(Failure::Response("BatchRecommend answered an empty entry")),
            }
        }
        for message in self.stream(messages).await? {
            let label = format!("stream {}", message.request_id);
            match &message.result {
                Some(stream_recommend_response::Result::Response(response)) => print_result(&label, Ok(response)),
                Some(stream_recommend_response::Result::Error(error)) => print_result(&label, Err(error)),
                None => return Err(Failure::Response("StreamRecommend answered an empty message")),
            }
        }
        Ok(())
    }

    /// Sends the requests over one stream and returns the responses sorted by request id: they arrive in any order.
    async fn stream(&self, messages: Vec<StreamRecommendRequest>) -> Result<Vec<StreamRecommendResponse>, Status> {
        let responses = self.connection.call(messages, async |request: Request<Vec<_>>| {
            let request = request.map(tokio_stream::iter);
            let mut stream = self.recommender.clone().stream_recommend(request).await?.into_inner();
            let mut responses = Vec::new();
            while let Some(response) = stream.message().await? {
                responses.push(response);
            }
            Ok(tonic::Response::new(responses))
        });
        let mut responses = responses.await?;
        responses.sort_by(|a, b| a.request_id.cmp(&b.request_id));
        Ok(responses)
    }

    async fn explain(&self, item_id: String) -> Result<(), Failure> {
        let request =
            ExplainRequest { user: self.user(), item_id: item_id.clone(), max_contributions: 3, ..Default::default() };
        let explanation = call!(self.recommender.explain(request))?;
        let parts = [
            explanation.score,
            explanation.global_bias,
            explanation.user_bias,
            explanation.item_bias,
            explanation.interaction,
            explanation.remainder,
        ];
        let parts = parts.map(number).join(" ");
        println!("explain {item_id} {parts} {}", number(explanation.predicted_rating()));
        for rated in explanation.contributions {
            println!("because {} {} {}", rated.item_id, number(rated.rating), number(rated.contribution));
        }
        let ranking = explanation.ranking.ok_or(Failure::Response("Explain answered without ranking"))?;
        let parts =
            [explanation.ranking_score, ranking.item_part, ranking.user_part, ranking.other_part, ranking.unexplained];
        println!("ranking {}", parts.map(number).join(" "));
        for reason in ranking.reasons {
            let (rating, contribution) = (number(reason.rating), number(reason.contribution));
            println!("moved {} {rating} {contribution} {}", reason.item_id, reason.similar_rating_count);
        }
        Ok(())
    }

    async fn deliberate_error(&self) -> Result<(), Failure> {
        match call!(self.recommender.recommend(recommend_for(self.user(), -1))) {
            Ok(_) => Err(Failure::Response("the server accepted a page_size of -1")),
            Err(status) => {
                println!("{}", describe(&status).join("\n"));
                Ok(())
            }
        }
    }
}
