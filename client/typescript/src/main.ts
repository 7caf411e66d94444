// Calls every RPC of Cofactor once and prints what docs/clients.md specifies.
import type { CallOptions, Client, ClientUnaryCall, ServiceError } from "@grpc/grpc-js";
import { Metadata } from "@grpc/grpc-js";
import {
  CatalogServiceClient,
  GetItemMapRequest,
  GetModelRequest,
  ListModelsRequest,
  ListTopItemsRequest,
  ListTopItemsRequest_Order,
  SearchItemsRequest,
} from "../gen/cofactor/v1/catalog.js";
import { type Model, model_StateToJSON } from "../gen/cofactor/v1/model.js";
import {
  BatchRecommendRequest,
  EmbedNewItemRequest,
  EmbedNewUserRequest,
  ExplainRequest,
  PredictRequest,
  RecommenderServiceClient,
  RecommendRequest,
  SimilarItemsRequest,
  type StreamRecommendResponse,
  User,
  type UserEmbedding,
} from "../gen/cofactor/v1/recommender.js";
import { type Connection, connect } from "./connection.js";
import { describe, isServiceError, number, resultLines, scoredLines } from "./lines.js";

type UnaryMethod<Request, Response> = (
  request: Request,
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: (error: ServiceError | null, response: Response) => void,
) => ClientUnaryCall;

function print(...words: (string | number)[]): void {
  console.log(words.join(" "));
}

class Tour {
  private readonly catalog: CatalogServiceClient;
  private readonly recommender: RecommenderServiceClient;
  private readonly user: User;

  constructor(
    private readonly connection: Connection,
    private readonly userId: string,
    private readonly words: string,
  ) {
    const { target, credentials, clientOptions } = connection;
    this.catalog = new CatalogServiceClient(target, credentials, clientOptions);
    this.recommender = new RecommenderServiceClient(target, credentials, clientOptions);
    this.user = User.create({ userId });
  }

  close(): void {
    this.catalog.close();
    this.recommender.close();
  }

  /** Calls a method with the deadline and returns its response as a promise. */
  private call<Request, Response>(
    client: Client,
    method: UnaryMethod<Request, Response>,
    request: Request,
  ): Promise<Response> {
    return new Promise((resolve, reject) => {
      method.call(client, request, new Metadata(), this.connection.callOptions(), (error, response) =>
        error ? reject(error) : resolve(response),
      );
    });
  }

  private async models(): Promise<Model> {
    const { model, limits } = await this.call(this.catalog, this.catalog.getModel, GetModelRequest.create());
    if (!model || !limits) throw new Error("GetModel answered without a model");
    print("model", model.name, model.architecture, model.objective, model.userCount, model.itemCount,
      model.factorCount, number(model.ratingMin), number(model.ratingMax));
    print("limits", limits.maxPageSize, limits.maxItemsPerRequest, limits.maxRequestsPerBatch, limits.maxQueueSize);
    for (const { weight, eventCount, negative, name } of model.events?.types ?? []) {
      print("event", number(weight), eventCount, negative ? "negative" : "positive", name);
    }
    const listed = await this.call(this.catalog, this.catalog.listModels, ListModelsRequest.create({ pageSize: 10 }));
    for (const { name, state } of listed.models) print("listed", name, model_StateToJSON(state));
    return model;
  }

  private async items(): Promise<string[]> {
    const search = SearchItemsRequest.create({ query: this.words, pageSize: 3 });
    const found = await this.call(this.catalog, this.catalog.searchItems, search);
    found.items.forEach((item, i) =>
      print("search", i + 1, item.itemId, item.releaseYear, item.genres.join("|"), item.title),
    );
    const request = ListTopItemsRequest.create({ order: ListTopItemsRequest_Order.ORDER_MOST_RATED, pageSize: 3 });
    const top = await this.call(this.catalog, this.catalog.listTopItems, request);
    top.items.forEach((item, i) => print("top", i + 1, item.itemId, item.ratingCount, number(item.bias), item.title));
    const drawn = await this.call(this.catalog, this.catalog.getItemMap, GetItemMapRequest.create({ maxItems: 3 }));
    drawn.points.forEach((point, i) => print("map", i + 1, point.itemId, number(point.x), number(point.y), point.title));
    return top.items.map((item) => item.itemId);
  }

  /** Requests predictions for a user of the training data and returns the best item. */
  private async known(model: Model, itemIds: string[]): Promise<string> {
    const { recommender, user } = this;
    if (model.objective === "rating") {
      // Other models order items and predict no ratings.
      const predicted = await this.call(recommender, recommender.predict, PredictRequest.create({ user, itemIds }));
      itemIds.forEach((itemId, i) => print("predict", this.userId, itemId, number(predicted.ratings[i] ?? NaN)));
    }
    const request = RecommendRequest.create({ user, pageSize: 3, returnItems: true });
    const recommended = await this.call(recommender, recommender.recommend, request);
    scoredLines("recommend", recommended.results).forEach((line) => print(line));
    const similarRequest = SimilarItemsRequest.create({ itemIds: itemIds.slice(0, 1), pageSize: 3, returnItems: true });
    const similar = await this.call(recommender, recommender.similarItems, similarRequest);
    similar.results.forEach((result, i) =>
      print("similar", i + 1, result.itemId, number(result.score), result.item?.title ?? ""),
    );
    return recommended.results[0]?.itemId ?? "";
  }

  /** Builds a request with three ratings; with three events if the model learnt from events. */
  private static newUser({ events, ratingMin, ratingMax }: Model, itemIds: string[]): EmbedNewUserRequest {
    if (!events) {
      const ratings = itemIds.map((itemId, i) => ({ itemId, rating: i < 2 ? ratingMax : ratingMin }));
      return EmbedNewUserRequest.create({ ratings });
    }
    const eventType = events.types.find(({ negative }) => !negative)?.name ?? "";
    const time = events.newestEventTime;
    return EmbedNewUserRequest.create({
      events: itemIds.map((itemId, i) => ({ itemId, eventType, count: i < 2 ? 2 : 1, time })),
    });
  }

  /** Builds a request with the first rating or event of the new user, as one of a known user of a new item. */
  private newItem({ ratings, events }: EmbedNewUserRequest): EmbedNewItemRequest {
    const { userId } = this;
    return EmbedNewItemRequest.create({
      item: { genres: ["Drama"], releaseYear: 2000 },
      ratings: ratings.slice(0, 1).map(({ rating }) => ({ userId, rating })),
      events: events.slice(0, 1).map(({ eventType, count, time }) => ({ userId, eventType, count, time })),
    });
  }

  /** Makes a new user. The caller must store the embedding, because the server does not. */
  private async embed(model: Model, itemIds: string[]): Promise<UserEmbedding> {
    const request = Tour.newUser(model, itemIds);
    const embedded = await this.call(this.recommender, this.recommender.embedNewUser, request);
    if (!embedded.embedding) throw new Error("EmbedNewUser answered without an embedding");
    print("embed", embedded.embedding.factors.length, number(embedded.embedding.bias), number(embedded.fitRmse),
      embedded.usedRatingCount + embedded.usedEventCount);
    if (model.supportsNewItems) {
      const arrived = await this.call(this.recommender, this.recommender.embedNewItem, this.newItem(request));
      const item = arrived.embedding;
      print("new-item", item?.factors.length ?? 0, number(item?.bias ?? NaN), number(arrived.fitRmse),
        arrived.usedRatingCount + arrived.usedEventCount);
    }
    return embedded.embedding;
  }

  /** Sends the requests over one stream and returns the responses sorted by request id: they arrive in any order. */
  private async stream(requests: Map<string, RecommendRequest>): Promise<StreamRecommendResponse[]> {
    const stream = this.recommender.streamRecommend(this.connection.callOptions());
    for (const [requestId, request] of requests) stream.write({ requestId, request });
    stream.end();
    const responses: StreamRecommendResponse[] = [];
    for await (const response of stream) responses.push(response as StreamRecommendResponse);
    return responses.sort((a, b) => (a.requestId < b.requestId ? -1 : 1));
  }

  /** Requests recommendations for three users, one of them unknown: in one call, then over one stream. */
  private async many(embedding: UserEmbedding): Promise<void> {
    const users = { known: this.user, new: User.create({ embedding }), unknown: User.create({ userId: "nobody" }) };
    const request = (user: User) => RecommendRequest.create({ user, pageSize: 2, returnItems: true });
    const requests = new Map(Object.entries(users).map(([id, user]) => [id, request(user)]));
    const batchRequest = BatchRecommendRequest.create({ requests: [...requests.values()] });
    const batch = await this.call(this.recommender, this.recommender.batchRecommend, batchRequest);
    batch.entries.forEach((entry, i) => resultLines(`batch ${i}`, entry).forEach((line) => print(line)));
    for (const response of await this.stream(requests)) {
      resultLines(`stream ${response.requestId}`, response).forEach((line) => print(line));
    }
  }

  private async explain(itemId: string): Promise<void> {
    const request = ExplainRequest.create({ user: this.user, itemId, maxContributions: 3 });
    const explanation = await this.call(this.recommender, this.recommender.explain, request);
    const { score, globalBias, userBias, itemBias, interaction, remainder, predictedRating } = explanation;
    const parts = [score, globalBias, userBias, itemBias, interaction, remainder];
    print("explain", itemId, ...parts.map(number), number(predictedRating ?? 0));
    for (const { itemId, rating, contribution } of explanation.contributions) {
      print("because", itemId, number(rating), number(contribution));
    }
    const { ranking, rankingScore } = explanation;
    if (!ranking) throw new Error("Explain answered without the parts of the ranking score");
    const { itemPart, userPart, otherPart, unexplained } = ranking;
    print("ranking", ...[rankingScore, itemPart, userPart, otherPart, unexplained].map(number));
    for (const { itemId, rating, contribution, similarRatingCount } of ranking.reasons) {
      print("moved", itemId, number(rating), number(contribution), similarRatingCount);
    }
  }

  private async deliberateError(): Promise<void> {
    const request = RecommendRequest.create({ user: this.user, pageSize: -1 });
    try {
      await this.call(this.recommender, this.recommender.recommend, request);
    } catch (error) {
      if (!isServiceError(error)) throw error;
      describe(error).forEach((line) => print(line));
      return;
    }
    throw new Error("the server accepted a page_size of -1");
  }

  async run(): Promise<void> {
    const model = await this.models();
    const itemIds = await this.items();
    const best = await this.known(model, itemIds);
    await this.many(await this.embed(model, itemIds));
    await this.explain(best);
    await this.deliberateError();
  }
}

async function main(userId = "1", words = "star wars"): Promise<void> {
  const tour = new Tour(connect(process.env), userId, words);
  try {
    await tour.run();
  } finally {
    tour.close();
  }
}

try {
  await main(...process.argv.slice(2, 4));
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  console.error(isServiceError(error) ? describe(error).join("\n") : message);
  process.exitCode = error instanceof RangeError ? 2 : 1;
}
