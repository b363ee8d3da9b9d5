package oci

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"palisade/internal/cli/golden"
)

// addition is what the tests add.
func addition() *Addition {
	timeout := 10
	return &Addition{
		Hooks: specs.Hooks{
			CreateRuntime: []specs.Hook{{Path: "/bin/kit", Args: []string{"kit", "hook", "<&>"}, Timeout: &timeout}},
			Poststop:      []specs.Hook{{Path: "/bin/kit"}, {Path: "/bin/other", Env: []string{"A=b"}}},
		},
		Annotations: map[string]string{"com.example.kit": "a <&> b"},
	}
}

// What addition adds to a configuration without hooks and annotations.
const (
	newRuntime     = `{"path":"/bin/kit","args":["kit","hook","<&>"],"timeout":10}`
	newPoststop    = `{"path":"/bin/kit"},{"path":"/bin/other","env":["A=b"]}`
	newAnnotations = `"annotations":{"com.example.kit":"a <&> b"}`
	newHooks       = `"hooks":{"createRuntime":[` + newRuntime + `],"poststop":[` + newPoststop + `]}`
)

func TestMerge(t *testing.T) {
	const big = `"linux":{"futureThing":[1,2,{"x":"<&>"}],"n":18446744073709551615,"f":1.50e+3,"u":"\u00e9\u003c\ud83d\ude00"}`
	tests := []struct{ name, text, want string }{
		{"nothing there", `{}`, `{` + newAnnotations + `,` + newHooks + `}`},
		{"nulls", `{"hooks":null,"annotations":null}`, `{` + newAnnotations + `,` + newHooks + `}`},
		{"null stages", `{"hooks":{"createRuntime":null,"poststart":null}}`,
			`{` + newAnnotations + `,"hooks":{"createRuntime":[` + newRuntime + `],"poststart":null,"poststop":[` + newPoststop + `]}}`},
		{"empty ones", `{"hooks":{"poststop":[]},"annotations":{}}`, `{` + newAnnotations + `,` + newHooks + `}`},
		{"unknown values are kept as they are", `{` + big + `}`, `{` + newAnnotations + `,` + newHooks + `,` + big + `}`},
		{"its own hooks come after the added ones",
			`{"hooks":{"createRuntime":[{"path":"/a","future":9007199254740993},{"path":"/b"}],"futureStage":[1]}}`,
			`{` + newAnnotations + `,"hooks":{"createRuntime":[` + newRuntime + `,{"path":"/a","future":9007199254740993},{"path":"/b"}],` +
				`"futureStage":[1],"poststop":[` + newPoststop + `]}}`},
		{"one hook of two is there", `{"hooks":{"poststop":[{"path":"/bin/other","timeout":3}]}}`,
			`{` + newAnnotations + `,"hooks":{"createRuntime":[` + newRuntime + `],"poststop":[{"path":"/bin/kit"},{"path":"/bin/other","timeout":3}]}}`},
		{"the same program with other arguments", `{"hooks":{"createRuntime":[{"path":"/bin/kit","args":["kit","x"]}]}}`,
			`{` + newAnnotations + `,"hooks":{"createRuntime":[` + newRuntime + `,{"path":"/bin/kit","args":["kit","x"]}],"poststop":[` + newPoststop + `]}}`},
		{"the user's annotation wins", `{"annotations":{"com.example.kit":"","z":"<"}}`,
			`{"annotations":{"com.example.kit":"","z":"<"},` + newHooks + `}`},
		{"other annotations stay", `{"annotations":{"a":"1"}}`, `{"annotations":{"a":"1","com.example.kit":"a <&> b"},` + newHooks + `}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := addition().merge([]byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if again, err := addition().merge(got); err != nil || !bytes.Equal(again, got) {
				t.Errorf("again: got %s, %v", again, err)
			}
		})
	}
}

// TestMergeNothing: what needs no change is not even formatted.
func TestMergeNothing(t *testing.T) {
	text := "{\n  \"hooks\": null, \"b\": 1.0, \"a\": {}\n}\n"
	for name, a := range map[string]*Addition{
		"nothing to add": {}, "empty lists": {Hooks: specs.Hooks{Poststop: []specs.Hook{}}, Annotations: map[string]string{}},
	} {
		if got, err := a.merge([]byte(text)); err != nil || string(got) != text {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

// TestAddToDocker adds to a configuration of dockerd's, which has a hook.
func TestAddToDocker(t *testing.T) {
	_, file := bundle(t, string(fixture(t, "config/docker.json")))
	if err := addition().AddTo(file); err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/config/docker.want.json", string(read(t, file)))
}

// FuzzMerge checks that a configuration stays one, that nothing else changes, and that adding once
// is enough.
func FuzzMerge(f *testing.F) {
	f.Add(fixture(f, "config/docker.json"))
	f.Add(fixture(f, "config/docker.want.json"))
	for _, text := range []string{`{}`, `null`, `{"hooks":{"poststop":[null,{"Path":"/bin/kit"}]},"Hooks":{},"annotations":null}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := addition().merge(text)
		if err != nil {
			return
		}
		var before, after object
		if err := json.Unmarshal(text, &before); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(got, &after); err != nil {
			t.Fatalf("%q: %v", got, err)
		}
		for key, value := range before {
			if key != "hooks" && key != "annotations" && compact(t, value) != compact(t, after[key]) {
				t.Errorf("%q: got %s, want %s", key, after[key], value)
			}
		}
		if again, err := addition().merge(got); err != nil || !bytes.Equal(again, got) {
			t.Errorf("again: got  %s, %v\nwant %s", again, err, got)
		}
	})
}

func compact(t *testing.T, text []byte) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return b.String()
}
