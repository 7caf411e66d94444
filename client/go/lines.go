package main

import (
	"fmt"
	"math"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	cofactor "cofactor.dev/example/gen/cofactor/v1"
)

// number formats a value with two decimals, rounded the same way in every language: floor(100 x + 0.5) / 100.
func number(value float32) string {
	return fmt.Sprintf("%.2f", math.Floor(100*float64(value)+0.5)/100)
}

func printScored(label string, results []*cofactor.ScoredItem) {
	for i, result := range results {
		fmt.Printf("%s %d %s %s %s\n", label, i+1, result.ItemId, number(result.GetPredictedRating()), result.Item.GetTitle())
	}
}

// printResult prints an entry of BatchRecommend or a message of StreamRecommend: both hold a response or an error.
func printResult(label string, result interface {
	GetResponse() *cofactor.RecommendResponse
	GetError() *cofactor.EntryError
}) {
	if failure := result.GetError(); failure != nil {
		fmt.Printf("%s error %s\n", label, failure.Reason)
		return
	}
	printScored(label, result.GetResponse().GetResults())
}

// describe returns the details of a failed call, one per line: message, reason and invalid fields.
func describe(err error) []string {
	failure := status.Convert(err)
	lines := []string{fmt.Sprintf("error %d %s", failure.Code(), failure.Message())}
	for _, detail := range failure.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			lines = append(lines, fmt.Sprintf("reason %s %s", detail.Reason, detail.Domain))
		case *errdetails.BadRequest:
			for _, violation := range detail.FieldViolations {
				lines = append(lines, fmt.Sprintf("violation %s %s", violation.Field, violation.Description))
			}
		}
	}
	return lines
}
