package strictjson_test

import (
	"encoding/json"
	"strings"
	"testing"

	"palisade/internal/authz/strictjson"
)

type object struct {
	Name  strictjson.Once[string]
	Inner strictjson.Once[struct{ List strictjson.Once[[]int] }]
}

func TestUnmarshal(t *testing.T) {
	for text, want := range map[string]string{
		`{"Name":"a","Inner":{"List":[1]},"x":{"a":1,"A":2}}`: "",
		`null`:                                  "",
		` {} `:                                  "",
		`{"name":"a"}`:                          "",
		`{"Name":"a","Name":"b"}`:               `duplicate key "Name"`,
		`{"Name":"a","nAme":"b"}`:               "duplicate key",
		`{"Name":"a","\u006eame":"b"}`:          "duplicate key",
		`{"Name":null,"name":"b"}`:              "duplicate key",
		`{"Inner":{"List":[],"li\u017ft":[1]}}`: "duplicate key",
		`{"x":[{"y":1,"y":2}]}`:                 `duplicate key "y"`,
		`{"Name":1}`:                            "cannot unmarshal number",
		`{"Name":"a"`:                           "EOF",
		`{} {}`:                                 "data after",
		``:                                      "EOF",
		strings.Repeat(`{"a":`, 70):             "nested deeper than 64",
		strings.Repeat("[", 1000000):            "nested deeper than 64",
	} {
		err := strictjson.Unmarshal([]byte(text), new(object))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.100s: %v, want %s", text, err, want)
		}
	}
}

// FuzzUnmarshal compares accepted values with what json.Unmarshal returns.
func FuzzUnmarshal(f *testing.F) {
	for _, text := range []string{
		`{"Name":"a"}`, `{"name":"a","Name":"b"}`, `{}{}`, `{"Inner":{"List":[1,2]}}`, `null`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var strict object
		if strictjson.Unmarshal(text, &strict) != nil {
			return
		}
		var plain struct{ Name string }
		if err := json.Unmarshal(text, &plain); err != nil || plain.Name != strict.Name.Value {
			t.Errorf("%q: %+v, %v; want %+v", text, strict, err, plain)
		}
	})
}
