package main

import (
	"encoding/binary"
	"math"
	"testing"
)

// results returns a message whose field 1 holds a message for every id, with the id as field 1.
func results(ids ...string) []byte {
	var out []byte
	for _, id := range ids {
		out = append(out, 1<<3|2, byte(len(id)+2), 1<<3|2, byte(len(id)))
		out = append(out, id...)
	}
	return append(out, 2<<3, 7) // and a number that no check looks at
}

func lengths(ids ...string) []byte {
	var out []byte
	for _, id := range ids {
		out = append(append(out, byte(len(id))), id...)
	}
	return out
}

func floats(values ...float32) []byte {
	var out []byte
	for _, value := range values {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(value))
	}
	return out
}

func packed(values ...float32) []byte {
	return append([]byte{1<<3 | 2, byte(4 * len(values))}, floats(values...)...)
}

func TestCheckers(t *testing.T) {
	cases := []struct {
		name               string
		kind               string
		response, expected []byte
		right              bool
	}{
		{"same ids", "fields", results("7", "12"), lengths("7", "12"), true},
		{"another order", "fields", results("12", "7"), lengths("7", "12"), false},
		{"one id less", "fields", results("7"), lengths("7", "12"), false},
		{"one id more", "fields", results("7", "12", "3"), lengths("7", "12"), false},
		{"no response", "fields", nil, lengths("7"), false},
		{"cut short", "fields", results("7", "12")[:5], lengths("7", "12"), false},
		{"same bytes", "bytes", []byte("abc"), []byte("abc"), true},
		{"other bytes", "bytes", []byte("abd"), []byte("abc"), false},
		{"contained", "contains", []byte(`{"item_ids":["7"]}`), []byte(`["7"]`), true},
		{"not contained", "contains", []byte(`{"item_ids":["8"]}`), []byte(`["7"]`), false},
		{"near floats", "floats", packed(1, 2.0001), floats(1, 2), true},
		{"far floats", "floats", packed(1, 2.1), floats(1, 2), false},
		{"not a number", "floats", packed(1, float32(math.NaN())), floats(1, 2), false},
		{"one float less", "floats", packed(1), floats(1, 2), false},
		{"no floats", "floats", []byte{2 << 3, 7}, floats(1), false},
	}
	for _, test := range cases {
		check, err := newChecker(test.kind, []uint64{1, 1})
		if err != nil {
			t.Fatal(err)
		}
		if err := check(test.response, test.expected); (err == nil) != test.right {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestUnknownCheckIsRefused(t *testing.T) {
	if _, err := newChecker("none", nil); err == nil {
		t.Error("accepted")
	}
}
