package assignment

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/klog/v2"

	workloadv1alpha1 "github.com/kcp-dev/workload-syncer/apis/workload/v1alpha1"
	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

var webhookConfigurations = admissionregistrationv1.SchemeGroupVersion.WithResource("mutatingwebhookconfigurations")

// registrationPeriod is how often kcp's registration of the webhook is compared with what it should be.
const registrationPeriod = time.Minute

// webhookTimeout is how many seconds kcp waits for an answer. It comes from memory, or not at all.
const webhookTimeout = 2

// keepRegistered has kcp ask the webhook about new objects, and about no others; and about none if there is no webhook.
func (c *Controller) keepRegistered(ctx context.Context) {
	client := c.deps.Fleet.Workspace(c.deps.Provider).Resource(webhookConfigurations)
	for {
		wait := registrationPeriod
		err := c.register(ctx, client)
		if ctx.Err() == nil {
			c.deps.Webhook.noteRegistration(err)
		}
		if err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Keeping the webhook registered", "retryAfter", discoveryRetry.String())
			wait = discoveryRetry
		} else if err == nil && c.deps.Webhook == nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (c *Controller) register(ctx context.Context, client dynamic.ResourceInterface) error {
	current, err := client.Get(ctx, workloadv1alpha1.AssignmentWebhook, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		current = nil
	case err != nil && c.deps.Webhook == nil:
		// A manager that has never had a webhook needs no right to see that there is none.
		klog.FromContext(ctx).V(2).Info("Not looking for a webhook of an earlier time", "why", err.Error())
		return nil
	case err != nil:
		return tmc.Classify(fmt.Errorf("reading the registration of the webhook: %w", err))
	}
	if c.deps.Webhook == nil {
		return unregister(ctx, client, current)
	}
	resources := c.types.computeResources()
	if len(resources) == 0 {
		return fmt.Errorf("the types of export %s are not known yet", workloadv1alpha1.KubernetesExport)
	}
	return c.deps.Webhook.registerFor(ctx, client, current, resources)
}

// unregister removes what an earlier configuration of the manager left: kcp would wait for answers that never come.
func unregister(ctx context.Context, client dynamic.ResourceInterface, current *unstructured.Unstructured) error {
	if current == nil {
		return nil
	}
	klog.FromContext(ctx).Info("Removing the registration of a webhook that there is no more", "name", current.GetName())
	err := client.Delete(ctx, current.GetName(), metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(current.GetUID()))})
	if err != nil && !apierrors.IsNotFound(err) {
		return tmc.Classify(fmt.Errorf("removing the registration of the webhook: %w", err))
	}
	return nil
}

func (w *Webhook) registerFor(ctx context.Context, client dynamic.ResourceInterface, current *unstructured.Unstructured, resources []schema.GroupResource) error {
	ca, err := os.ReadFile(w.config.CAFile)
	if err != nil {
		return fmt.Errorf("reading the certificates by which kcp knows the webhook: %w", err)
	}
	wanted := registration(w.config.URL, bytes.TrimSpace(ca), resources)
	if current != nil {
		if isRegistered(current, wanted) {
			return nil
		}
		wanted.ResourceVersion = current.GetResourceVersion()
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(wanted)
	if err != nil {
		return err
	}
	klog.FromContext(ctx).Info("Registering the webhook", "url", w.config.URL, "resources", len(resources))
	if current == nil {
		_, err = client.Create(ctx, &unstructured.Unstructured{Object: content}, metav1.CreateOptions{FieldManager: workloadv1alpha1.ManagerFieldManager})
	} else {
		_, err = client.Update(ctx, &unstructured.Unstructured{Object: content}, metav1.UpdateOptions{FieldManager: workloadv1alpha1.ManagerFieldManager})
	}
	if err != nil {
		return tmc.Classify(fmt.Errorf("registering the webhook: %w", err))
	}
	return nil
}

func isRegistered(current *unstructured.Unstructured, wanted *admissionregistrationv1.MutatingWebhookConfiguration) bool {
	var have admissionregistrationv1.MutatingWebhookConfiguration
	if runtime.DefaultUnstructuredConverter.FromUnstructured(current.Object, &have) != nil || len(have.Webhooks) != 1 {
		return false
	}
	return len(have.Webhooks[0].Rules) == len(wanted.Webhooks[0].Rules) && equality.Semantic.DeepDerivative(wanted.Webhooks, have.Webhooks)
}

// registration is about the creation of objects of the resources. That the webhook does not answer stops nobody.
func registration(url string, ca []byte, resources []schema.GroupResource) *admissionregistrationv1.MutatingWebhookConfiguration {
	slices.SortFunc(resources, func(a, b schema.GroupResource) int { return strings.Compare(a.String(), b.String()) })
	var rules []admissionregistrationv1.RuleWithOperations
	for _, resource := range resources {
		rules = append(rules, admissionregistrationv1.RuleWithOperations{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
			Rule: admissionregistrationv1.Rule{
				APIGroups: []string{resource.Group}, APIVersions: []string{"*"}, Resources: []string{resource.Resource},
				Scope: new(admissionregistrationv1.NamespacedScope),
			},
		})
	}
	return &admissionregistrationv1.MutatingWebhookConfiguration{
		TypeMeta:   metav1.TypeMeta{APIVersion: admissionregistrationv1.SchemeGroupVersion.String(), Kind: "MutatingWebhookConfiguration"},
		ObjectMeta: metav1.ObjectMeta{Name: workloadv1alpha1.AssignmentWebhook},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name:                    workloadv1alpha1.AssignmentWebhook,
			ClientConfig:            admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: ca},
			Rules:                   rules,
			FailurePolicy:           new(admissionregistrationv1.Ignore),
			MatchPolicy:             new(admissionregistrationv1.Equivalent),
			SideEffects:             new(admissionregistrationv1.SideEffectClassNone),
			TimeoutSeconds:          new(int32(webhookTimeout)),
			AdmissionReviewVersions: []string{"v1"},
			ReinvocationPolicy:      new(admissionregistrationv1.NeverReinvocationPolicy),
		}},
	}
}
