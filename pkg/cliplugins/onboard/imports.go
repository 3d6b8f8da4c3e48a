package onboard

import (
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apiresourcev1alpha1 "github.com/kcp-dev/workload-syncer/apis/apiresource/v1alpha1"
)

// importsPolicy keeps the syncer's account to the imports of its own SyncTarget. All imports of a workspace are of one resource, and
// RBAC can limit neither a creation to names, nor what is created to a content: so admission does, for each account by itself.
func (s *session) importsPolicy() (*admissionregistrationv1.ValidatingAdmissionPolicy, *admissionregistrationv1.ValidatingAdmissionPolicyBinding) {
	meta := metav1.TypeMeta{APIVersion: admissionregistrationv1.SchemeGroupVersion.String(), Kind: "ValidatingAdmissionPolicy"}
	named := metav1.ObjectMeta{Name: s.name, Labels: labelsOf(s.name)}
	forbidden := metav1.StatusReasonForbidden
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{TypeMeta: meta, ObjectMeta: named, Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
		FailurePolicy: new(admissionregistrationv1.Fail),
		MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
			RuleWithOperations: admissionregistrationv1.RuleWithOperations{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update, admissionregistrationv1.Delete},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{apiresourcev1alpha1.GroupName}, APIVersions: []string{"*"}, Resources: []string{"apiresourceimports"}},
			},
		}}},
		MatchConditions: []admissionregistrationv1.MatchCondition{{
			Name: "the-account-of-this-syncer", Expression: fmt.Sprintf("request.userInfo.username == %q", "system:serviceaccount:"+s.options.KCPNamespace+":"+s.name),
		}},
		Validations: []admissionregistrationv1.Validation{{
			Expression: fmt.Sprintf("[object, oldObject].all(o, o == null || o.spec.syncTarget == %q)", s.options.Name),
			Message:    "this account writes imports of SyncTarget " + s.options.Name + " only", Reason: &forbidden,
		}},
	}}
	meta.Kind += "Binding"
	return policy, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{TypeMeta: meta, ObjectMeta: named, Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: s.name, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
	}}
}
