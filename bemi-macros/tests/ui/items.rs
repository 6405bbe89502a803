use bemi_diesel::bemi_context;

#[bemi_context(id = self.id)]
#[derive(Clone)]
pub struct User {
    id: i32,
}

#[bemi_context(id = self.id)]
impl User {
    fn id(&self) -> i32 {
        self.id
    }
}

#[bemi_context(a = 1)]
mod module {}

#[bemi_context(a = 1)]
const CONSTANT: i32 = 1;

#[bemi_context(a = 1)]
const fn constant() {}

trait Rename {
    #[bemi_context(to = to)]
    fn rename(&self, to: &str);
}

impl Rename for User {
    fn rename(&self, _to: &str) {}
}

fn main() {
    let user = User { id: CONSTANT };
    user.clone().rename("Anna");
    user.id();
    constant();
}
