package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// interruptible returns a context that the first SIGINT or SIGTERM ends. The next
// one kills the process, however soon it comes: one from before the signals have
// their usual meaning again is caught here, and sent once more.
//
// stop waits until nothing of it runs any more, and gives the signals back their
// usual meaning.
func interruptible(parent context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	caught := make(chan os.Signal, 2)
	signal.Notify(caught, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer signal.Stop(caught)
		select {
		case <-caught:
		case <-ctx.Done():
			return
		}
		cancel()
		signal.Stop(caught) // nothing is caught once it has returned
		select {
		case again := <-caught:
			resend(again)
		default:
		}
	}()
	return ctx, func() { cancel(); <-done }
}

func resend(again os.Signal) {
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Signal(again)
	}
	if err != nil { // a system on which a process cannot send that
		os.Exit(int(Interrupted))
	}
}
