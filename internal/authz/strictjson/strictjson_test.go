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
		`{"Name":"a","Name":"b"}`:               `a key comes twice: "Name"`,
		`{"Name":"a","nAme":"b"}`:               "a key comes twice",
		`{"Name":"a","\u006eame":"b"}`:          "a key comes twice",
		`{"Name":null,"name":"b"}`:              "a key comes twice",
		`{"Inner":{"List":[],"li\u017ft":[1]}}`: "a key comes twice",
		`{"x":[{"y":1,"y":2}]}`:                 `a key comes twice: "y"`,
		`{"Name":1}`:                            "cannot unmarshal number",
		`{"Name":"a"`:                           "EOF",
		`{} {}`:                                 "more behind",
		``:                                      "EOF",
		strings.Repeat(`{"a":`, 70):             "nested deeper than 64",
		strings.Repeat("[", 1000000):            "nested deeper than 64",
	} {
		err := strictjson.Unmarshal([]byte(text), new(object))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.100s: %v, want %s", text, err, want)
		}
	}
}

// FuzzUnmarshal makes sure that what is taken is what encoding/json reads.
func FuzzUnmarshal(f *testing.F) {
	for _, text := range []string{`{"Name":"a"}`, `{"name":"a","Name":"b"}`, `{}{}`, `{"Inner":{"List":[1,2]}}`, `null`} {
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
