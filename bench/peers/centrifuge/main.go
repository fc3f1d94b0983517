// A server around the library that Centrifugo is made of: lets everybody in, subscribe and publish,
// and keeps nothing unless it is told to. For measuring only.
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"log"
	"net/http"
	"time"

	"github.com/centrifugal/centrifuge"
)

// What may wait for one client, in bytes: enough that nobody is closed as slow.
const queueBytes = 64 << 20

// Longer than a measurement.
const historyLife = time.Hour

func main() {
	address := flag.String("address", "127.0.0.1:8000", "where to listen")
	certificate := flag.String("certificate", "", "PEM")
	key := flag.String("private-key", "", "PEM")
	history := flag.Int("history", 0, "publications of a channel that are kept in memory")
	flag.Parse()

	node, err := centrifuge.New(centrifuge.Config{
		LogLevel:           centrifuge.LogLevelNone,
		ClientQueueMaxSize: queueBytes,
	})
	if err != nil {
		log.Fatal(err)
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{}}, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnSubscribe(func(_ centrifuge.SubscribeEvent, answer centrifuge.SubscribeCallback) {
			answer(centrifuge.SubscribeReply{}, nil)
		})
		client.OnPublish(func(_ centrifuge.PublishEvent, answer centrifuge.PublishCallback) {
			options := centrifuge.PublishOptions{HistorySize: *history, HistoryTTL: historyLife}
			answer(centrifuge.PublishReply{Options: options}, nil)
		})
		if *history > 0 {
			client.OnHistory(func(_ centrifuge.HistoryEvent, answer centrifuge.HistoryCallback) {
				answer(centrifuge.HistoryReply{}, nil)
			})
		}
	})
	if err := node.Run(); err != nil {
		log.Fatal(err)
	}
	http.Handle("/connection/websocket", centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{
		UseWriteBufferPool: true,
		WriteTimeout:       30 * time.Second,
		// A silent connection is kept: nobody is pinged.
		PingPongConfig: centrifuge.PingPongConfig{PingInterval: -1, PongTimeout: -1},
	}))
	server := &http.Server{
		Addr:      *address,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}},
	}
	log.Fatal(server.ListenAndServeTLS(*certificate, *key))
}
