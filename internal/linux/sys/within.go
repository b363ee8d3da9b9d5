package sys

import "context"

// Within runs do, and returns its result, or context.Cause(ctx) if ctx ends first. do then
// continues in the background, on a thread of its own if a file system that does not answer blocks
// it; if it succeeds, its result is passed to discard, unless that is nil.
func Within[T any](ctx context.Context, do func() (T, error), discard func(T)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		value, err := do()
		done <- outcome{value, err}
	}()
	select {
	case o := <-done:
		return o.value, o.err
	case <-ctx.Done():
	}
	if discard != nil {
		go func() {
			if o := <-done; o.err == nil {
				discard(o.value)
			}
		}()
	}
	var none T
	return none, context.Cause(ctx)
}
