// Calls every RPC of Cofactor once and prints what docs/clients.md specifies.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"

	cofactor "cofactor.dev/example/gen/cofactor/v1"
)

type tour struct {
	catalog     cofactor.CatalogServiceClient
	recommender cofactor.RecommenderServiceClient
	userID      string
	words       string
	timeout     time.Duration
}

func knownUser(userID string) *cofactor.User {
	return &cofactor.User{Identity: &cofactor.User_UserId{UserId: userID}}
}

// catalogue describes the model, and returns it with the ids of its most rated items.
func (t tour) catalogue(ctx context.Context) (*cofactor.Model, []string, error) {
	described, err := t.catalog.GetModel(ctx, &cofactor.GetModelRequest{})
	if err != nil {
		return nil, nil, err
	}
	model, limits := described.Model, described.Limits
	fmt.Println("model", model.Name, model.Architecture, model.Objective, model.UserCount, model.ItemCount,
		model.FactorCount, number(model.RatingMin), number(model.RatingMax))
	fmt.Println("limits", limits.MaxPageSize, limits.MaxItemsPerRequest, limits.MaxRequestsPerBatch, limits.MaxQueueSize)
	for _, kind := range model.Events.GetTypes() {
		sign := "positive"
		if kind.Negative {
			sign = "negative"
		}
		fmt.Println("event", number(kind.Weight), kind.EventCount, sign, kind.Name)
	}

	listed, err := t.catalog.ListModels(ctx, &cofactor.ListModelsRequest{PageSize: 10})
	if err != nil {
		return nil, nil, err
	}
	for _, version := range listed.Models {
		fmt.Println("listed", version.Name, version.State)
	}
	found, err := t.catalog.SearchItems(ctx, &cofactor.SearchItemsRequest{Query: t.words, PageSize: 3})
	if err != nil {
		return nil, nil, err
	}
	for i, item := range found.Items {
		fmt.Println("search", i+1, item.ItemId, item.ReleaseYear, strings.Join(item.Genres, "|"), item.Title)
	}
	top, err := t.catalog.ListTopItems(ctx,
		&cofactor.ListTopItemsRequest{Order: cofactor.ListTopItemsRequest_ORDER_MOST_RATED, PageSize: 3})
	if err != nil {
		return nil, nil, err
	}
	var itemIDs []string
	for i, item := range top.Items {
		fmt.Println("top", i+1, item.ItemId, item.RatingCount, number(item.Bias), item.Title)
		itemIDs = append(itemIDs, item.ItemId)
	}
	drawn, err := t.catalog.GetItemMap(ctx, &cofactor.GetItemMapRequest{MaxItems: 3})
	if err != nil {
		return nil, nil, err
	}
	for i, point := range drawn.Points {
		fmt.Println("map", i+1, point.ItemId, number(point.X), number(point.Y), point.Title)
	}
	return model, itemIDs, nil
}

// known requests predictions for a user of the training data and returns the best item.
func (t tour) known(ctx context.Context, model *cofactor.Model, itemIDs []string) (string, error) {
	user := knownUser(t.userID)
	if model.Objective == "rating" { // other models order items and predict no ratings
		predicted, err := t.recommender.Predict(ctx, &cofactor.PredictRequest{User: user, ItemIds: itemIDs})
		if err != nil {
			return "", err
		}
		for i, rating := range predicted.Ratings {
			fmt.Println("predict", t.userID, itemIDs[i], number(rating))
		}
	}
	recommended, err := t.recommender.Recommend(ctx,
		&cofactor.RecommendRequest{User: user, PageSize: 3, ReturnItems: true})
	if err != nil {
		return "", err
	}
	printScored("recommend", recommended.Results)
	similar, err := t.recommender.SimilarItems(ctx,
		&cofactor.SimilarItemsRequest{ItemIds: itemIDs[:1], PageSize: 3, ReturnItems: true})
	if err != nil {
		return "", err
	}
	for i, result := range similar.Results {
		fmt.Println("similar", i+1, result.ItemId, number(result.Score), result.Item.GetTitle())
	}
	return recommended.Results[0].ItemId, nil
}

// newUser builds a request with three ratings; with three events if the model learnt from events.
func newUser(model *cofactor.Model, itemIDs []string) *cofactor.EmbedNewUserRequest {
	request := &cofactor.EmbedNewUserRequest{}
	types := model.Events.GetTypes()
	positive := slices.IndexFunc(types, func(kind *cofactor.Model_EventType) bool { return !kind.Negative })
	for i, itemID := range itemIDs {
		rating, count := model.RatingMax, float32(2)
		if i >= 2 {
			rating, count = model.RatingMin, 1
		}
		if model.Events == nil {
			request.Ratings = append(request.Ratings, &cofactor.Rating{ItemId: itemID, Rating: rating})
			continue
		}
		request.Events = append(request.Events, &cofactor.Event{ItemId: itemID, EventType: types[positive].Name,
			Count: count, Time: model.Events.NewestEventTime})
	}
	return request
}

// newItem builds a request with the first rating or event of the new user, as one of a known user of a new item.
func (t tour) newItem(request *cofactor.EmbedNewUserRequest) *cofactor.EmbedNewItemRequest {
	item := &cofactor.EmbedNewItemRequest{Item: &cofactor.Item{Genres: []string{"Drama"}, ReleaseYear: 2000}}
	for _, rating := range request.Ratings[:min(1, len(request.Ratings))] {
		item.Ratings = append(item.Ratings, &cofactor.ItemRating{UserId: t.userID, Rating: rating.Rating})
	}
	for _, event := range request.Events[:min(1, len(request.Events))] {
		item.Events = append(item.Events, &cofactor.ItemEvent{UserId: t.userID, EventType: event.EventType,
			Count: event.Count, Time: event.Time})
	}
	return item
}

// embed makes a new user. The caller must store the embedding, because the server does not.
func (t tour) embed(ctx context.Context, model *cofactor.Model, itemIDs []string) (*cofactor.UserEmbedding, error) {
	request := newUser(model, itemIDs)
	embedded, err := t.recommender.EmbedNewUser(ctx, request)
	if err != nil {
		return nil, err
	}
	fmt.Println("embed", len(embedded.Embedding.Factors), number(embedded.Embedding.Bias), number(embedded.FitRmse),
		embedded.UsedRatingCount+embedded.UsedEventCount)
	if !model.SupportsNewItems {
		return embedded.Embedding, nil
	}
	item, err := t.recommender.EmbedNewItem(ctx, t.newItem(request))
	if err != nil {
		return nil, err
	}
	fmt.Println("new-item", len(item.Embedding.Factors), number(item.Embedding.Bias), number(item.FitRmse),
		item.UsedRatingCount+item.UsedEventCount)
	return embedded.Embedding, nil
}

// stream sends the requests over one stream and returns the responses sorted by request id: they arrive in any order.
func (t tour) stream(ctx context.Context, ids []string, requests []*cofactor.RecommendRequest) (
	[]*cofactor.StreamRecommendResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	stream, err := t.recommender.StreamRecommend(ctx)
	if err != nil {
		return nil, err
	}
	for i, request := range requests {
		// Send only reports io.EOF; Recv returns the error itself.
		if stream.Send(&cofactor.StreamRecommendRequest{RequestId: ids[i], Request: request}) != nil {
			break
		}
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	var responses []*cofactor.StreamRecommendResponse
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		responses = append(responses, response)
	}
	slices.SortFunc(responses, func(a, b *cofactor.StreamRecommendResponse) int {
		return strings.Compare(a.RequestId, b.RequestId)
	})
	return responses, nil
}

// many requests recommendations for three users, one of them unknown: in one call, then over one stream.
func (t tour) many(ctx context.Context, embedding *cofactor.UserEmbedding) error {
	ids := []string{"known", "new", "unknown"}
	users := []*cofactor.User{
		knownUser(t.userID),
		{Identity: &cofactor.User_Embedding{Embedding: embedding}},
		knownUser("nobody"),
	}
	var requests []*cofactor.RecommendRequest
	for _, user := range users {
		requests = append(requests, &cofactor.RecommendRequest{User: user, PageSize: 2, ReturnItems: true})
	}
	batch, err := t.recommender.BatchRecommend(ctx, &cofactor.BatchRecommendRequest{Requests: requests})
	if err != nil {
		return err
	}
	for i, entry := range batch.Entries {
		printResult(fmt.Sprintf("batch %d", i), entry)
	}
	responses, err := t.stream(ctx, ids, requests)
	if err != nil {
		return err
	}
	for _, response := range responses {
		printResult("stream "+response.RequestId, response)
	}
	return nil
}

func (t tour) explain(ctx context.Context, itemID string) error {
	explanation, err := t.recommender.Explain(ctx,
		&cofactor.ExplainRequest{User: knownUser(t.userID), ItemId: itemID, MaxContributions: 3})
	if err != nil {
		return err
	}
	fmt.Println("explain", itemID, number(explanation.Score), number(explanation.GlobalBias),
		number(explanation.UserBias), number(explanation.ItemBias), number(explanation.Interaction),
		number(explanation.Remainder), number(explanation.GetPredictedRating()))
	for _, contribution := range explanation.Contributions {
		fmt.Println("because", contribution.ItemId, number(contribution.Rating), number(contribution.Contribution))
	}
	ranking := explanation.Ranking
	fmt.Println("ranking", number(explanation.RankingScore), number(ranking.GetItemPart()),
		number(ranking.GetUserPart()), number(ranking.GetOtherPart()), number(ranking.GetUnexplained()))
	for _, reason := range ranking.GetReasons() {
		fmt.Println("moved", reason.ItemId, number(reason.Rating), number(reason.Contribution), reason.SimilarRatingCount)
	}
	return nil
}

func (t tour) run(ctx context.Context) error {
	model, itemIDs, err := t.catalogue(ctx)
	if err != nil {
		return err
	}
	best, err := t.known(ctx, model, itemIDs)
	if err != nil {
		return err
	}
	embedding, err := t.embed(ctx, model, itemIDs)
	if err != nil {
		return err
	}
	if err := t.many(ctx, embedding); err != nil {
		return err
	}
	if err := t.explain(ctx, best); err != nil {
		return err
	}
	_, err = t.recommender.Recommend(ctx, &cofactor.RecommendRequest{User: knownUser(t.userID), PageSize: -1})
	if err == nil {
		return errors.New("the server accepted a page_size of -1")
	}
	fmt.Println(strings.Join(describe(err), "\n"))
	return nil
}

func newTour(connection *grpc.ClientConn, timeout time.Duration, arguments []string) tour {
	t := tour{
		catalog:     cofactor.NewCatalogServiceClient(connection),
		recommender: cofactor.NewRecommenderServiceClient(connection),
		userID:      "1",
		words:       "star wars",
		timeout:     timeout,
	}
	if len(arguments) > 0 {
		t.userID = arguments[0]
	}
	if len(arguments) > 1 {
		t.words = arguments[1]
	}
	return t
}

func main() {
	connection, timeout, err := connect()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	defer connection.Close()
	if err := newTour(connection, timeout, os.Args[1:]).run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, strings.Join(describe(err), "\n"))
		os.Exit(1)
	}
}
