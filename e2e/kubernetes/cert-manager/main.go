// cert-manager's own controllers and webhook, as far as signing needs them. Its command is a module of its own, which isn't
// published with what it needs; this one takes its place.
//
//	cert-manager crds             prints its definitions
//	cert-manager [FLAG ...]       runs
package main

import (
	"context"
	"embed"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cert-manager/cert-manager/internal/apis/config/shared"
	webhookconfig "github.com/cert-manager/cert-manager/internal/apis/config/webhook"
	"github.com/cert-manager/cert-manager/internal/webhook"
	"github.com/cert-manager/cert-manager/pkg/controller"
	"github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/approver"
	requestsca "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/ca"
	requestsselfsigned "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/selfsigned"
	"github.com/cert-manager/cert-manager/pkg/controller/clusterissuers"
	"github.com/cert-manager/cert-manager/pkg/controller/issuers"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/ca"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/selfsigned"
	logf "github.com/cert-manager/cert-manager/pkg/logs"
)

//go:embed crds/*.yaml
var crds embed.FS

// As many as the chart's default.
const workers = 5

var names = []string{
	issuers.ControllerName,
	clusterissuers.ControllerName,
	approver.ControllerName,
	requestsca.CRControllerName,
	requestsselfsigned.CRControllerName,
}

func main() {
	// The modules add flags of their own to those of the command.
	flags := flag.NewFlagSet("cert-manager", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", os.Getenv("KUBECONFIG"), "how to reach the API server")
	namespace := flags.String("namespace", "cert-manager", "where its own Secrets lie, and those of ClusterIssuers")
	port := flags.Int("webhook-port", 0, "where the webhook listens, as localhost")
	// It ends the process where it fails.
	_ = flags.Parse(os.Args[1:])
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	run := func() error { return serve(ctx, *kubeconfig, *namespace, *port) }
	if flags.Arg(0) == "crds" {
		run = define
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func define() error {
	files, err := fs.Glob(crds, "crds/*.yaml")
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := crds.ReadFile(file)
		if err != nil {
			return err
		}
		fmt.Printf("---\n%s\n", text)
	}
	return nil
}

func serve(ctx context.Context, kubeconfig, namespace string, port int) error {
	logf.InitLogs()
	factory, err := controller.NewContextFactory(ctx, controller.ContextOptions{
		Kubeconfig:    kubeconfig,
		IssuerOptions: controller.IssuerOptions{ClusterResourceNamespace: namespace},
	})
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, name := range names {
		one, err := controller.Known()[name](factory)
		if err != nil {
			return fmt.Errorf("make %s: %w", name, err)
		}
		group.Go(func() error { return one.Run(workers, ctx) })
	}
	// What the controllers watch is known when all of them are made.
	made, err := factory.Build()
	if err != nil {
		return err
	}
	made.SharedInformerFactory.Start(ctx.Done())
	made.KubeSharedInformerFactory.Start(ctx.Done())

	server, err := webhook.NewCertManagerWebhookServer(logf.Log, webhookconfig.WebhookConfiguration{
		KubeConfig: kubeconfig,
		SecurePort: int32(port),
		TLSConfig: shared.TLSConfig{Dynamic: shared.DynamicServingConfig{
			SecretNamespace: namespace,
			SecretName:      "cert-manager-webhook-ca",
			DNSNames:        []string{"localhost"},
			LeafDuration:    7 * 24 * time.Hour,
		}},
		MetricsListenAddress: "0",
	})
	if err != nil {
		return err
	}
	group.Go(func() error { return server.Run(ctx) })
	return group.Wait()
}
