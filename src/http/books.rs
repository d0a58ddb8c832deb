//! The ledger as the admin API and the console show it: views of the cluster, as the bodies of replies.

use std::time::Duration;

use super::{
    admin::{Books, Unreadable},
    bodies::{
        AuthorizationBody, BudgetBody, BudgetsBody, CardBody, CardholderBody, DecisionsBody, InForceBody,
        NodeBody, PoliciesBody, PolicyBody, ShadowBody, UnconfirmedBody, UnconfirmedListBody,
    },
};
use crate::{
    clock::{self, timeout_at},
    cluster::{
        Cluster, DecisionFilter, NotOperated, NotRecorded, Order, Place, PolicyChange, PolicyChanged, Target,
    },
    domain::{Attribution, AuthorizationId, CardId, CardholderId},
    trial::NotSet,
};

/// How long the journal may take to say which policies the members have.
const POLICIES_WITHIN: Duration = Duration::from_millis(300);

impl Books for Cluster {
    async fn card(&self, card: CardId) -> Result<Option<CardBody>, Unreadable> {
        let view = Self::card(self, &card, clock::now()).await.map_err(unreadable)?;
        Ok(view.map(|view| CardBody::new(&view, &self.owner(&card))))
    }

    async fn cardholder(&self, cardholder: CardholderId) -> Result<Option<CardholderBody>, Unreadable> {
        let state = Self::cardholder(self, &cardholder).await.map_err(unreadable)?;
        Ok(state.map(|state| CardholderBody::new(&cardholder, &state)))
    }

    async fn authorization(
        &self,
        authorization: AuthorizationId,
    ) -> Result<Option<AuthorizationBody>, Unreadable> {
        let view = Self::authorization(self, &authorization).await.map_err(unreadable)?;
        Ok(view.map(|view| AuthorizationBody::from(&view)))
    }

    async fn decisions(
        &self,
        filter: DecisionFilter,
        cursor: Option<Place>,
        limit: usize,
    ) -> Result<DecisionsBody, Unreadable> {
        let page = Self::decisions(self, &filter, cursor, limit).await.map_err(unreadable)?;
        Ok(DecisionsBody::from(&page))
    }

    async fn decisions_after(
        &self,
        filter: DecisionFilter,
        after: Option<Place>,
        limit: usize,
    ) -> Result<DecisionsBody, Unreadable> {
        let page = Self::decisions_after(self, &filter, after, limit).await.map_err(unreadable)?;
        Ok(DecisionsBody::from(&page))
    }

    async fn authorization_of(&self, id: String) -> Result<Option<AuthorizationId>, Unreadable> {
        Self::authorization_of(self, &id).await.map_err(unreadable)
    }

    async fn budgets(&self) -> Result<BudgetsBody, Unreadable> {
        let views = Self::budgets(self, clock::now()).await.map_err(unreadable)?;
        Ok(BudgetsBody { budgets: views.iter().map(BudgetBody::from).collect() })
    }

    async fn budget(&self, name: &str, key: Option<&str>) -> Result<Option<BudgetBody>, Unreadable> {
        let view = Self::budget(self, name, key, clock::now()).await.map_err(unreadable)?;
        Ok(view.map(|view| BudgetBody::from(&view)))
    }

    async fn operate(&self, target: &Target, order: Order) -> Result<(), NotOperated> {
        Self::operate(self, target, order, clock::now()).await
    }

    async fn change_policy(&self, change: PolicyChange<'_>) -> Result<PolicyChanged, NotRecorded> {
        Self::change_policy(self, &change, clock::now()).await
    }

    async fn policies(&self) -> Result<PoliciesBody, Unreadable> {
        let records = Self::policies(self).await.map_err(unreadable)?;
        Ok(PoliciesBody::new(&records, self.policy().version()))
    }

    async fn policy_version(&self, version: String) -> Result<Option<PolicyBody>, Unreadable> {
        let records = Self::policies(self).await.map_err(unreadable)?;
        Ok(PolicyBody::new(&records, &version, self.policy().version()))
    }

    fn policy_in_force(&self) -> InForceBody {
        InForceBody::from(&*Self::policy(self))
    }

    async fn shadow(&self) -> Result<ShadowBody, Unreadable> {
        Ok(ShadowBody::from(self.trials().shadow().await.map_err(unreadable)?))
    }

    async fn set_shadow(&self, policy: Option<&str>, attribution: Attribution) -> Result<(), NotSet> {
        self.trials().set_shadow(policy, attribution).await
    }

    async fn node(&self) -> NodeBody {
        // The journal may be away: what is known without it is shown all the same.
        let now = clock::instant();
        let until = now.checked_add(POLICIES_WITHIN).unwrap_or(now);
        let records =
            timeout_at(until, Self::policies(self)).await.ok().and_then(Result::ok).unwrap_or_default();
        NodeBody::new(&Self::node(self), Self::policy(self).version(), &records)
    }

    fn unconfirmed(&self) -> UnconfirmedListBody {
        let now = clock::now();
        let waiting = Self::unconfirmed(self, now);
        UnconfirmedListBody {
            unconfirmed: waiting.iter().map(|view| UnconfirmedBody::new(view, now)).collect(),
        }
    }
}

fn unreadable(cause: impl std::fmt::Display) -> Unreadable {
    tracing::error!(%cause, "the ledger cannot be read");
    Unreadable
}
