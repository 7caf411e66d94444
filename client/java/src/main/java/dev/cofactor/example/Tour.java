package dev.cofactor.example;

import static dev.cofactor.example.Lines.number;

import dev.cofactor.v1.BatchRecommendRequest;
import dev.cofactor.v1.BatchRecommendResponse;
import dev.cofactor.v1.CatalogServiceGrpc;
import dev.cofactor.v1.EmbedNewItemRequest;
import dev.cofactor.v1.EmbedNewItemResponse;
import dev.cofactor.v1.EmbedNewUserRequest;
import dev.cofactor.v1.EmbedNewUserResponse;
import dev.cofactor.v1.Event;
import dev.cofactor.v1.ExplainRequest;
import dev.cofactor.v1.ExplainResponse;
import dev.cofactor.v1.GetItemMapRequest;
import dev.cofactor.v1.GetItemMapResponse;
import dev.cofactor.v1.GetModelRequest;
import dev.cofactor.v1.GetModelResponse;
import dev.cofactor.v1.Item;
import dev.cofactor.v1.ItemEmbedding;
import dev.cofactor.v1.ItemEvent;
import dev.cofactor.v1.ItemRating;
import dev.cofactor.v1.ListModelsRequest;
import dev.cofactor.v1.ListTopItemsRequest;
import dev.cofactor.v1.Model;
import dev.cofactor.v1.PredictRequest;
import dev.cofactor.v1.Rating;
import dev.cofactor.v1.RecommendRequest;
import dev.cofactor.v1.RecommendResponse;
import dev.cofactor.v1.RecommenderServiceGrpc;
import dev.cofactor.v1.ScoredItem;
import dev.cofactor.v1.SearchItemsRequest;
import dev.cofactor.v1.ServingLimits;
import dev.cofactor.v1.SimilarItemsRequest;
import dev.cofactor.v1.StreamRecommendRequest;
import dev.cofactor.v1.StreamRecommendResponse;
import dev.cofactor.v1.User;
import dev.cofactor.v1.UserEmbedding;
import io.grpc.Channel;
import io.grpc.StatusException;
import io.grpc.stub.BlockingClientCall;
import java.io.PrintStream;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** Calls every RPC of Cofactor once and prints what docs/clients.md specifies. */
final class Tour {
  private final CatalogServiceGrpc.CatalogServiceBlockingV2Stub catalog;
  private final RecommenderServiceGrpc.RecommenderServiceBlockingV2Stub recommender;
  private final PrintStream out;
  private final String userId;
  private final String words;
  private final User user;

  Tour(Channel channel, PrintStream out, String userId, String words) {
    this.catalog = CatalogServiceGrpc.newBlockingV2Stub(channel);
    this.recommender = RecommenderServiceGrpc.newBlockingV2Stub(channel);
    this.out = out;
    this.userId = userId;
    this.words = words;
    this.user = User.newBuilder().setUserId(userId).build();
  }

  void run() throws StatusException, InterruptedException {
    Model model = models();
    List<String> itemIds = items();
    String best = known(model, itemIds);
    many(embed(model, itemIds));
    explain(best);
    deliberateError();
  }

  private void print(Object... parts) {
    out.println(Stream.of(parts).map(String::valueOf).collect(Collectors.joining(" ")));
  }

  private Model models() throws StatusException {
    GetModelResponse described = catalog.getModel(GetModelRequest.getDefaultInstance());
    Model model = described.getModel();
    ServingLimits limits = described.getLimits();
    print("model", model.getName(), model.getArchitecture(), model.getObjective(), model.getUserCount(),
        model.getItemCount(), model.getFactorCount(), number(model.getRatingMin()), number(model.getRatingMax()));
    print("limits", limits.getMaxPageSize(), limits.getMaxItemsPerRequest(), limits.getMaxRequestsPerBatch(),
        limits.getMaxQueueSize());
    for (Model.EventType type : model.getEvents().getTypesList()) {
      String sign = type.getNegative() ? "negative" : "positive";
      print("event", number(type.getWeight()), type.getEventCount(), sign, type.getName());
    }
    for (Model listed : catalog.listModels(ListModelsRequest.newBuilder().setPageSize(10).build()).getModelsList()) {
      print("listed", listed.getName(), listed.getState());
    }
    return model;
  }

  private List<String> items() throws StatusException {
    SearchItemsRequest search = SearchItemsRequest.newBuilder().setQuery(words).setPageSize(3).build();
    int rank = 0;
    for (Item item : catalog.searchItems(search).getItemsList()) {
      String genres = String.join("|", item.getGenresList());
      print("search", ++rank, item.getItemId(), item.getReleaseYear(), genres, item.getTitle());
    }
    ListTopItemsRequest request =
        ListTopItemsRequest.newBuilder()
            .setOrder(ListTopItemsRequest.Order.ORDER_MOST_RATED)
            .setPageSize(3)
            .build();
    List<String> itemIds = new ArrayList<>();
    for (Item item : catalog.listTopItems(request).getItemsList()) {
      itemIds.add(item.getItemId());
      print("top", itemIds.size(), item.getItemId(), item.getRatingCount(), number(item.getBias()), item.getTitle());
    }
    rank = 0;
    GetItemMapRequest map = GetItemMapRequest.newBuilder().setMaxItems(3).build();
    for (GetItemMapResponse.Point point : catalog.getItemMap(map).getPointsList()) {
      print("map", ++rank, point.getItemId(), number(point.getX()), number(point.getY()), point.getTitle());
    }
    return itemIds;
  }

  /** Requests predictions for a user of the training data and returns the best item. */
  private String known(Model model, List<String> itemIds) throws StatusException {
    if (model.getObjective().equals("rating")) { // other models order items and predict no ratings
      PredictRequest request = PredictRequest.newBuilder().setUser(user).addAllItemIds(itemIds).build();
      List<Float> ratings = recommender.predict(request).getRatingsList();
      for (int i = 0; i < ratings.size(); i++) {
        print("predict", userId, itemIds.get(i), number(ratings.get(i)));
      }
    }
    List<ScoredItem> recommended = recommender.recommend(recommendFor(user, 3)).getResultsList();
    Lines.scored("recommend", recommended).forEach(out::println);
    SimilarItemsRequest similar =
        SimilarItemsRequest.newBuilder().addItemIds(itemIds.get(0)).setPageSize(3).setReturnItems(true).build();
    int rank = 0;
    for (ScoredItem result : recommender.similarItems(similar).getResultsList()) {
      print("similar", ++rank, result.getItemId(), number(result.getScore()), result.getItem().getTitle());
    }
    return recommended.get(0).getItemId();
  }

  private static RecommendRequest recommendFor(User user, int pageSize) {
    return RecommendRequest.newBuilder().setUser(user).setPageSize(pageSize).setReturnItems(true).build();
  }

  /** Builds a request with three ratings; with three events if the model learnt from events. */
  private static EmbedNewUserRequest newUser(Model model, List<String> itemIds) {
    EmbedNewUserRequest.Builder request = EmbedNewUserRequest.newBuilder();
    for (int i = 0; i < itemIds.size(); i++) {
      if (model.hasEvents()) {
        request.addEvents(event(model.getEvents(), itemIds.get(i), i < 2 ? 2 : 1));
      } else {
        float rating = i < 2 ? model.getRatingMax() : model.getRatingMin();
        request.addRatings(Rating.newBuilder().setItemId(itemIds.get(i)).setRating(rating));
      }
    }
    return request.build();
  }

  private static Event event(Model.Events events, String itemId, float count) {
    Event.Builder event = Event.newBuilder().setItemId(itemId).setCount(count);
    events.getTypesList().stream()
        .filter(type -> !type.getNegative())
        .findFirst()
        .ifPresent(type -> event.setEventType(type.getName()));
    if (events.hasNewestEventTime()) {
      event.setTime(events.getNewestEventTime());
    }
    return event.build();
  }

  /** Builds a request with the first rating or event of the new user, as one of a known user of a new item. */
  private EmbedNewItemRequest newItem(EmbedNewUserRequest newUser) {
    EmbedNewItemRequest.Builder request =
        EmbedNewItemRequest.newBuilder().setItem(Item.newBuilder().addGenres("Drama").setReleaseYear(2000));
    newUser.getRatingsList().stream()
        .limit(1)
        .forEach(r -> request.addRatings(ItemRating.newBuilder().setUserId(user.getUserId()).setRating(r.getRating())));
    for (Event event : newUser.getEventsList().stream().limit(1).toList()) {
      ItemEvent.Builder used = request.addEventsBuilder().setUserId(user.getUserId());
      used.setEventType(event.getEventType()).setCount(event.getCount());
      if (event.hasTime()) {
        used.setTime(event.getTime());
      }
    }
    return request.build();
  }

  /** Makes a new user. The caller must store the embedding, because the server does not. */
  private UserEmbedding embed(Model model, List<String> itemIds) throws StatusException {
    EmbedNewUserRequest request = newUser(model, itemIds);
    EmbedNewUserResponse embedded = recommender.embedNewUser(request);
    UserEmbedding embedding = embedded.getEmbedding();
    print("embed", embedding.getFactorsCount(), number(embedding.getBias()), number(embedded.getFitRmse()),
        embedded.getUsedRatingCount() + embedded.getUsedEventCount());
    if (model.getSupportsNewItems()) {
      EmbedNewItemResponse arrived = recommender.embedNewItem(newItem(request));
      ItemEmbedding item = arrived.getEmbedding();
      print("new-item", item.getFactorsCount(), number(item.getBias()), number(arrived.getFitRmse()),
          arrived.getUsedRatingCount() + arrived.getUsedEventCount());
    }
    return embedding;
  }

  /** Requests recommendations for three users, one of them unknown: in one call, then over one stream. */
  private void many(UserEmbedding embedding) throws StatusException, InterruptedException {
    Map<String, RecommendRequest> requests = new LinkedHashMap<>();
    requests.put("known", recommendFor(user, 2));
    requests.put("new", recommendFor(User.newBuilder().setEmbedding(embedding).build(), 2));
    requests.put("unknown", recommendFor(User.newBuilder().setUserId("nobody").build(), 2));

    BatchRecommendRequest batch = BatchRecommendRequest.newBuilder().addAllRequests(requests.values()).build();
    int index = 0;
    for (BatchRecommendResponse.Entry entry : recommender.batchRecommend(batch).getEntriesList()) {
      printResult("batch " + index++, entry.hasError(), entry.getError().getReason(), entry.getResponse());
    }
    for (StreamRecommendResponse response : stream(requests)) {
      printResult("stream " + response.getRequestId(), response.hasError(), response.getError().getReason(),
          response.getResponse());
    }
  }

  /** Sends the requests over one stream and returns the responses sorted by request id: they arrive in any order. */
  private List<StreamRecommendResponse> stream(Map<String, RecommendRequest> requests)
      throws StatusException, InterruptedException {
    BlockingClientCall<StreamRecommendRequest, StreamRecommendResponse> call = recommender.streamRecommend();
    for (Map.Entry<String, RecommendRequest> request : requests.entrySet()) {
      call.write(
          StreamRecommendRequest.newBuilder()
              .setRequestId(request.getKey())
              .setRequest(request.getValue())
              .build());
    }
    call.halfClose();
    List<StreamRecommendResponse> responses = new ArrayList<>();
    for (StreamRecommendResponse response = call.read(); response != null; response = call.read()) {
      responses.add(response);
    }
    responses.sort(Comparator.comparing(StreamRecommendResponse::getRequestId));
    return responses;
  }

  private void printResult(String label, boolean failed, String reason, RecommendResponse response) {
    if (failed) {
      print(label, "error", reason);
    } else {
      Lines.scored(label, response.getResultsList()).forEach(out::println);
    }
  }

  private void explain(String itemId) throws StatusException {
    ExplainResponse explanation =
        recommender.explain(
            ExplainRequest.newBuilder().setUser(user).setItemId(itemId).setMaxContributions(3).build());
    print("explain", itemId, number(explanation.getScore()), number(explanation.getGlobalBias()),
        number(explanation.getUserBias()), number(explanation.getItemBias()), number(explanation.getInteraction()),
        number(explanation.getRemainder()), number(explanation.getPredictedRating()));
    for (ExplainResponse.Contribution rated : explanation.getContributionsList()) {
      print("because", rated.getItemId(), number(rated.getRating()), number(rated.getContribution()));
    }
    ExplainResponse.RankingScore ranking = explanation.getRanking();
    print("ranking", number(explanation.getRankingScore()), number(ranking.getItemPart()),
        number(ranking.getUserPart()), number(ranking.getOtherPart()), number(ranking.getUnexplained()));
    for (ExplainResponse.Reason reason : ranking.getReasonsList()) {
      print("moved", reason.getItemId(), number(reason.getRating()), number(reason.getContribution()),
          reason.getSimilarRatingCount());
    }
  }

  private void deliberateError() {
    try {
      recommender.recommend(recommendFor(user, -1));
    } catch (StatusException failure) {
      Lines.describe(failure).forEach(out::println);
      return;
    }
    throw new IllegalStateException("the server accepted a page_size of -1");
  }
}
