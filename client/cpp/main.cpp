// Calls every RPC of Cofactor once and prints what docs/clients.md specifies.

#include <algorithm>
#include <chrono>
#include <exception>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "cofactor/v1/catalog.grpc.pb.h"
#include "cofactor/v1/recommender.grpc.pb.h"
#include "connection.h"
#include "lines.h"

namespace api = cofactor::v1;

namespace {

// A failed call, with the details that the server sent.
struct RpcError : std::runtime_error {
  explicit RpcError(const grpc::Status& status) : std::runtime_error(Describe(status)) {}
};

class Tour {
 public:
  Tour(const Connection& connection, std::string user_id, std::string words)
      : catalog_(api::CatalogService::NewStub(connection.channel)),
        recommender_(api::RecommenderService::NewStub(connection.channel)),
        timeout_(std::chrono::duration_cast<std::chrono::nanoseconds>(connection.timeout)),
        user_id_(std::move(user_id)),
        words_(std::move(words)) {
    user_.set_user_id(user_id_);
  }

  void Run() {
    Models();
    Items();
    if (model_.objective() == "rating") Predict();  // other models order items and predict no ratings
    Recommend();
    Similar();
    Embed();
    const auto requests = Requests();
    Batch(requests);
    Stream(requests);
    Explain();
    DeliberateError();
  }

 private:
  // Calls a method with the deadline; throws RpcError. Store the response in a variable before looping over its fields:
  // a loop over a field of a temporary dangles.
  template <typename Stub, typename Request, typename Response>
  Response Call(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                const Request& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + timeout_);
    Response response;
    const grpc::Status status = (stub.*method)(&context, request, &response);
    if (!status.ok()) throw RpcError(status);
    return response;
  }

  void Models() {
    const auto described = Call(*catalog_, &CatalogStub::GetModel, api::GetModelRequest());
    model_ = described.model();
    std::cout << "model " << model_.name() << ' ' << model_.architecture() << ' ' << model_.objective() << ' '
              << model_.user_count() << ' ' << model_.item_count() << ' ' << model_.factor_count() << ' '
              << Number(model_.rating_min()) << ' ' << Number(model_.rating_max()) << '\n';
    const auto& limits = described.limits();
    std::cout << "limits " << limits.max_page_size() << ' ' << limits.max_items_per_request() << ' '
              << limits.max_requests_per_batch() << ' ' << limits.max_queue_size() << '\n';
    for (const auto& type : model_.events().types()) {
      std::cout << "event " << Number(type.weight()) << ' ' << type.event_count() << ' '
                << (type.negative() ? "negative" : "positive") << ' ' << type.name() << '\n';
    }
    api::ListModelsRequest request;
    request.set_page_size(10);
    const auto response = Call(*catalog_, &CatalogStub::ListModels, request);
    for (const auto& listed : response.models()) {
      std::cout << "listed " << listed.name() << ' ' << api::Model::State_Name(listed.state()) << '\n';
    }
  }

  void Items() {
    api::SearchItemsRequest search;
    search.set_query(words_);
    search.set_page_size(3);
    int rank = 0;
    const auto found = Call(*catalog_, &CatalogStub::SearchItems, search);
    for (const auto& item : found.items()) {
      std::cout << "search " << ++rank << ' ' << item.item_id() << ' ' << item.release_year() << ' ';
      for (int i = 0; i < item.genres_size(); ++i) std::cout << (i > 0 ? "|" : "") << item.genres(i);
      std::cout << ' ' << item.title() << '\n';
    }
    api::ListTopItemsRequest top;
    top.set_order(api::ListTopItemsRequest::ORDER_MOST_RATED);
    top.set_page_size(3);
    const auto most_rated = Call(*catalog_, &CatalogStub::ListTopItems, top);
    for (const auto& item : most_rated.items()) {
      item_ids_.push_back(item.item_id());
      std::cout << "top " << item_ids_.size() << ' ' << item.item_id() << ' ' << item.rating_count() << ' '
                << Number(item.bias()) << ' ' << item.title() << '\n';
    }
    api::GetItemMapRequest map;
    map.set_max_items(3);
    rank = 0;
    const auto drawn = Call(*catalog_, &CatalogStub::GetItemMap, map);
    for (const auto& point : drawn.points()) {
      std::cout << "map " << ++rank << ' ' << point.item_id() << ' ' << Number(point.x()) << ' ' << Number(point.y())
                << ' ' << point.title() << '\n';
    }
  }

  void Predict() {
    api::PredictRequest request;
    *request.mutable_user() = user_;
    request.mutable_item_ids()->Assign(item_ids_.begin(), item_ids_.end());
    const auto predicted = Call(*recommender_, &RecommenderStub::Predict, request);
    for (int i = 0; i < predicted.ratings_size(); ++i) {
      std::cout << "predict " << user_id_ << ' ' << item_ids_[i] << ' ' << Number(predicted.ratings(i)) << '\n';
    }
  }

  void Recommend() {
    const auto recommended = Call(*recommender_, &RecommenderStub::Recommend, RecommendFor(user_, 3));
    PrintScored("recommend", recommended.results());
    best_item_id_ = recommended.results(0).item_id();
  }

  void Similar() {
    api::SimilarItemsRequest request;
    request.add_item_ids(item_ids_.front());
    request.set_page_size(3);
    request.set_return_items(true);
    int rank = 0;
    const auto similar = Call(*recommender_, &RecommenderStub::SimilarItems, request);
    for (const auto& result : similar.results()) {
      std::cout << "similar " << ++rank << ' ' << result.item_id() << ' ' << Number(result.score()) << ' '
                << result.item().title() << '\n';
    }
  }

  // Returns a request with three ratings; with three events if the model learnt from events.
  api::EmbedNewUserRequest NewUser() const {
    api::EmbedNewUserRequest request;
    for (std::size_t i = 0; i < item_ids_.size(); ++i) {
      if (model_.has_events()) {
        *request.add_events() = MakeEvent(item_ids_[i], i < 2 ? 2 : 1);
        continue;
      }
      auto* rating = request.add_ratings();
      rating->set_item_id(item_ids_[i]);
      rating->set_rating(i < 2 ? model_.rating_max() : model_.rating_min());
    }
    return request;
  }

  api::Event MakeEvent(const std::string& item_id, float count) const {
    const auto& types = model_.events().types();
    const auto positive = std::find_if(types.begin(), types.end(), [](const auto& type) { return !type.negative(); });
    api::Event event;
    event.set_item_id(item_id);
    if (positive != types.end()) event.set_event_type(positive->name());
    event.set_count(count);
    if (model_.events().has_newest_event_time()) *event.mutable_time() = model_.events().newest_event_time();
    return event;
  }

  // Returns a request with the first rating or event of the new user, as one of a known user of a new item.
  api::EmbedNewItemRequest NewItem(const api::EmbedNewUserRequest& new_user) const {
    api::EmbedNewItemRequest request;
    request.mutable_item()->add_genres("Drama");
    request.mutable_item()->set_release_year(2000);
    if (new_user.ratings_size() > 0) {
      auto* rating = request.add_ratings();
      rating->set_user_id(user_.user_id());
      rating->set_rating(new_user.ratings(0).rating());
    }
    if (new_user.events_size() > 0) {
      const api::Event& event = new_user.events(0);
      auto* used = request.add_events();
      used->set_user_id(user_.user_id());
      used->set_event_type(event.event_type());
      used->set_count(event.count());
      if (event.has_time()) *used->mutable_time() = event.time();
    }
    return request;
  }

  // Makes a new user. The caller must store the embedding, because the server does not.
  void Embed() {
    const auto request = NewUser();
    const auto embedded = Call(*recommender_, &RecommenderStub::EmbedNewUser, request);
    embedding_ = embedded.embedding();
    std::cout << "embed " << embedding_.factors_size() << ' ' << Number(embedding_.bias()) << ' '
              << Number(embedded.fit_rmse()) << ' ' << embedded.used_rating_count() + embedded.used_event_count()
              << '\n';
    if (!model_.supports_new_items()) return;
    const auto arrived = Call(*recommender_, &RecommenderStub::EmbedNewItem, NewItem(request));
    std::cout << "new-item " << arrived.embedding().factors_size() << ' ' << Number(arrived.embedding().bias()) << ' '
              << Number(arrived.fit_rmse()) << ' ' << arrived.used_rating_count() + arrived.used_event_count() << '\n';
  }

  static api::RecommendRequest RecommendFor(const api::User& user, int page_size) {
    api::RecommendRequest request;
    *request.mutable_user() = user;
    request.set_page_size(page_size);
    request.set_return_items(true);
    return request;
  }

  // Returns the requests for three users, one of them unknown.
  std::vector<api::StreamRecommendRequest> Requests() const {
    api::User embedded, unknown;
    *embedded.mutable_embedding() = embedding_;
    unknown.set_user_id("nobody");
    std::vector<api::StreamRecommendRequest> requests(3);
    const std::string ids[] = {"known", "new", "unknown"};
    const api::User* users[] = {&user_, &embedded, &unknown};
    for (std::size_t i = 0; i < requests.size(); ++i) {
      requests[i].set_request_id(ids[i]);
      *requests[i].mutable_request() = RecommendFor(*users[i], 2);
    }
    return requests;
  }

  void Batch(const std::vector<api::StreamRecommendRequest>& requests) {
    api::BatchRecommendRequest batch;
    for (const auto& request : requests) *batch.add_requests() = request.request();
    int index = 0;
    const auto response = Call(*recommender_, &RecommenderStub::BatchRecommend, batch);
    for (const auto& entry : response.entries()) {
      PrintResult("batch " + std::to_string(index++), entry);
    }
  }

  // Prints the responses sorted by request id, because they arrive in any order.
  void Stream(const std::vector<api::StreamRecommendRequest>& requests) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + timeout_);
    const auto stream = recommender_->StreamRecommend(&context);
    for (const auto& request : requests) {
      if (!stream->Write(request)) break;  // Finish returns the error
    }
    stream->WritesDone();
    std::vector<api::StreamRecommendResponse> responses;
    for (api::StreamRecommendResponse response; stream->Read(&response);) responses.push_back(response);
    const grpc::Status status = stream->Finish();
    if (!status.ok()) throw RpcError(status);
    std::sort(responses.begin(), responses.end(),
              [](const auto& a, const auto& b) { return a.request_id() < b.request_id(); });
    for (const auto& response : responses) PrintResult("stream " + response.request_id(), response);
  }

  void Explain() {
    api::ExplainRequest request;
    *request.mutable_user() = user_;
    request.set_item_id(best_item_id_);
    request.set_max_contributions(3);
    const auto explanation = Call(*recommender_, &RecommenderStub::Explain, request);
    std::cout << "explain " << best_item_id_;
    for (const float part : {explanation.score(), explanation.global_bias(), explanation.user_bias(),
                             explanation.item_bias(), explanation.interaction(), explanation.remainder(),
                             explanation.predicted_rating()}) {
      std::cout << ' ' << Number(part);
    }
    std::cout << '\n';
    for (const auto& rated : explanation.contributions()) {
      std::cout << "because " << rated.item_id() << ' ' << Number(rated.rating()) << ' '
                << Number(rated.contribution()) << '\n';
    }
    const auto& ranking = explanation.ranking();
    std::cout << "ranking";
    for (const float part : {explanation.ranking_score(), ranking.item_part(), ranking.user_part(),
                             ranking.other_part(), ranking.unexplained()}) {
      std::cout << ' ' << Number(part);
    }
    std::cout << '\n';
    for (const auto& reason : ranking.reasons()) {
      std::cout << "moved " << reason.item_id() << ' ' << Number(reason.rating()) << ' '
                << Number(reason.contribution()) << ' ' << reason.similar_rating_count() << '\n';
    }
  }

  void DeliberateError() {
    try {
      Call(*recommender_, &RecommenderStub::Recommend, RecommendFor(user_, -1));
    } catch (const RpcError& error) {
      std::cout << error.what() << '\n';
      return;
    }
    throw std::runtime_error("the server accepted a page_size of -1");
  }

  using CatalogStub = api::CatalogService::Stub;
  using RecommenderStub = api::RecommenderService::Stub;

  std::unique_ptr<CatalogStub> catalog_;
  std::unique_ptr<RecommenderStub> recommender_;
  std::chrono::nanoseconds timeout_;
  std::string user_id_;
  std::string words_;
  api::User user_;
  api::Model model_;
  std::vector<std::string> item_ids_;
  std::string best_item_id_;
  api::UserEmbedding embedding_;
};

}  // namespace

int main(int argc, char** argv) {
  try {
    Tour(connect(), argc > 1 ? argv[1] : "1", argc > 2 ? argv[2] : "star wars").Run();
  } catch (const std::invalid_argument& error) {
    std::cerr << error.what() << '\n';
    return 2;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
