//! One program for each connection, blocking or not, as an application would write it.

/// `execute!(module, connection type, traits to use, how to await, how to return a future, how to stream)`.
macro_rules! execute {
    (
        $module:ident, $connection:ty, $c:ident, [$($import:tt)*],
        [$($async:tt)?], [$($await:tt)*], $boxed:path [$($block:tt)*] -> [$($returned:tt)*], $query:ident => $streamed:expr
    ) => {
        pub(crate) mod $module {
            use bemi_diesel::set_context;
            use diesel::connection::SimpleConnection as _;
            use diesel::prelude::{
                BoolExpressionMethods, ExpressionMethods, NullableExpressionMethods,
                OptionalExtension, QueryDsl, SelectableHelper,
            };
            use diesel::result::{Error, QueryResult};
            use diesel::sql_types::{Integer, Text};
            use diesel::upsert::{excluded, on_constraint};
            use diesel::{delete, insert_into, sql_query, update};
            $($import)*

            use crate::run::World;
            use crate::schema::{Book, Value, authors, books};
            use crate::step::{End, Mode, Step};

            /// Runs every one of `steps`, and notes how it left the connection.
            pub(crate) $($async)? fn top($c: &mut $connection, steps: &[Step], world: &mut World) {
                for step in steps {
                    let _noted = once($c, step, world)$($await)*;
                    let depth = AnsiTransactionManager::transaction_manager_status_mut($c)
                        .transaction_depth();
                    world.log.push(format!("depth {depth:?}"));
                }
            }

            $($async)? fn closure(
                $c: &mut $connection,
                steps: &[Step],
                end: End,
                world: &mut World,
            ) -> QueryResult<()> {
                for step in steps {
                    let result = once($c, step, world)$($await)*;
                    if let End::FirstError = end {
                        result?;
                    }
                }
                match end {
                    End::Commit | End::FirstError => Ok(()),
                    End::Rollback => Err(Error::RollbackTransaction),
                }
            }

            pub(crate) fn once<'a>(
                $c: &'a mut $connection,
                step: &'a Step,
                world: &'a mut World,
            ) -> $($returned)* {
                $boxed($($block)* { match step {
                    Step::Insert(book) => {
                        let result = insert_into(books::table).values(book).execute($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::InsertReturning(book) => {
                        let result: QueryResult<Book> =
                            insert_into(books::table).values(book).get_result($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::InsertReturningColumns(book) => {
                        let result: QueryResult<(String, i32)> = insert_into(books::table)
                            .values(book)
                            .returning((books::title, books::id))
                            .get_result($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::InsertAuthor(author) => {
                        let result = insert_into(authors::table).values(author).execute($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::InsertAuthorReturning(author) => {
                        let result: QueryResult<(i32, String, Option<i32>, bool)> =
                            insert_into(authors::table).values(author).get_result($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::InsertMany(new) => {
                        let result = insert_into(books::table).values(new).execute($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::InsertManyReturning(new) => {
                        let result: QueryResult<Vec<Book>> = insert_into(books::table)
                            .values(new)
                            .returning(Book::as_returning())
                            .get_results($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::InsertDefaults => {
                        let result = insert_into(authors::table).default_values().execute($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::InsertSelect(author) => {
                        let copies = books::table
                            .filter(books::author.eq(*author))
                            .select((books::author, diesel::dsl::sql::<Text>("title || ' again'")));
                        let result = insert_into(books::table)
                            .values(copies)
                            .into_columns((books::author, books::title))
                            .execute($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::DoNothing(book) => {
                        let result = insert_into(books::table)
                            .values(book)
                            .on_conflict_do_nothing()
                            .execute($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::DoNothingReturning(book) => {
                        let result: QueryResult<Option<i32>> = insert_into(books::table)
                            .values(book)
                            .on_conflict(books::title)
                            .do_nothing()
                            .returning(books::id)
                            .get_result($c)$($await)*
                            .optional();
                        world.note(step, result)
                    }
                    Step::Upsert(book) => {
                        let result = insert_into(books::table)
                            .values(book)
                            .on_conflict(books::title)
                            .do_update()
                            .set(books::pages.eq(excluded(books::pages)))
                            .execute($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::UpsertReturning(book) => {
                        let result: QueryResult<Book> = insert_into(books::table)
                            .values(book)
                            .on_conflict(books::title)
                            .do_update()
                            .set(books::tags.eq(excluded(books::tags)))
                            .get_result($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::UpsertOnConstraint(book) => {
                        let result = insert_into(books::table)
                            .values(book)
                            .on_conflict(on_constraint("one_title"))
                            .do_update()
                            .set(books::pages.eq(books::pages + excluded(books::pages)))
                            .execute($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::Update { id, pages } => {
                        let result = update(books::table.find(id))
                            .set(books::pages.eq(pages))
                            .execute($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::UpdateReturning { id, pages } => {
                        let result: QueryResult<(i32, Vec<String>)> = update(books::table.find(id))
                            .set(books::pages.eq(pages))
                            .returning((books::pages, books::tags))
                            .get_result($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::UpdateMany(pages) => {
                        let result = update(books::table.filter(books::pages.ge(pages)))
                            .set(books::pages.eq(books::pages + 1))
                            .execute($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::UpdateManyReturning(pages) => {
                        let result: QueryResult<Vec<Book>> =
                            update(books::table.filter(books::pages.ge(pages)))
                                .set(books::pages.eq(books::pages + 1))
                                .get_results($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::UpdateChanges { id, changes } => {
                        let result = update(books::table.find(id)).set(changes).execute($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::UpdateAuthor(changes) => {
                        let result = update(authors::table.find(changes.id))
                            .set(changes)
                            .execute($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::Save { id, pages } => {
                        let result: QueryResult<Book> = match books::table.find(id).first::<Book>($c)$($await)* {
                            Ok(mut book) => {
                                book.pages = *pages;
                                (&book).save_changes($c)$($await)*
                            }
                            Err(error) => Err(error),
                        };
                        world.note(step, result)
                    }
                    Step::Delete(id) => {
                        let result = delete(books::table.find(id)).execute($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::DeleteReturning(id) => {
                        let result: QueryResult<Book> = delete(books::table.find(id)).get_result($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::DeleteAuthor(id) => {
                        let result = delete(authors::table.find(id)).execute($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::DeleteMany(pages) => {
                        let result = delete(books::table.filter(books::pages.lt(pages))).execute($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::DeleteManyReturning(pages) => {
                        let result: QueryResult<Vec<String>> = delete(books::table)
                            .filter(books::pages.lt(pages).or(books::tags.eq(Vec::<String>::new())))
                            .returning(books::title)
                            .get_results($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::DeleteWithBinds(binds) => {
                        let numbers: Vec<String> = (1..=*binds).map(|n| format!("${n}")).collect();
                        let text = format!("DELETE FROM books WHERE id IN ({})", numbers.join(","));
                        let mut query = sql_query(text).into_boxed::<diesel::pg::Pg>();
                        for n in 0..*binds {
                            query = query.bind::<Integer, _>(i32::try_from(n).unwrap_or_default());
                        }
                        let result = query.execute($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::Find(id) => {
                        let result = books::table.find(id).first::<Book>($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::Books => {
                        let result = books::table.order(books::id).load::<Book>($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::Streamed => {
                        let $query = books::table.order(books::id).select(books::title);
                        let result: QueryResult<Vec<String>> = $streamed;
                        world.note(step, result)
                    }
                    Step::StreamedUntil(row) => {
                        let $query = diesel::dsl::sql::<Text>(&format!(
                            "SELECT (1 / ({row} - i))::text FROM generate_series(1, {row}) i"
                        ));
                        let result: QueryResult<Vec<String>> = $streamed;
                        world.note(step, result)
                    }
                    Step::Join => {
                        let result = authors::table
                            .left_join(books::table)
                            .order((authors::id, books::id))
                            .select((authors::name, books::title.nullable()))
                            .load::<(String, Option<String>)>($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::Count => {
                        let result = books::table
                            .group_by(books::author)
                            .order(books::author)
                            .select((books::author, diesel::dsl::count_star()))
                            .load::<(i32, i64)>($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::Exists(id) => {
                        let query = diesel::select(diesel::dsl::exists(books::table.find(id)));
                        let result = query.get_result::<bool>($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::ForUpdate(id) => {
                        let result = books::table.find(id).for_update().load::<Book>($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::Boxed { pages, limit } => {
                        let mut query = books::table.order(books::id).limit(*limit).into_boxed();
                        if let Some(pages) = pages {
                            query = query.filter(books::pages.eq(pages));
                        }
                        let result = query.load::<Book>($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::Sql(text) => {
                        let result = sql_query(text).execute($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::SqlRows(text) => {
                        let result = sql_query(text).load::<Value>($c)$($await)*;
                        world.note(step, result)
                    }
                    Step::Batch(text) => {
                        let result = $c.batch_execute(text)$($await)*;
                        world.note(step, result)
                    }
                    Step::Transaction(steps, end) => {
                        let result = $c
                            .transaction($($async)? |$c| closure($c, steps, *end, world)$($await)*)
                            $($await)*;
                        world.note(&Step::Transaction(Vec::new(), *end), result)
                    }
                    Step::Build(mode, steps, end) => {
                        let builder = $c.build_transaction();
                        let mut builder = match mode {
                            Mode::ReadOnly => builder.read_only(),
                            Mode::ReadWrite => builder.read_write(),
                            Mode::RepeatableRead => builder.repeatable_read(),
                            Mode::Serializable => builder.serializable(),
                            Mode::SerializableReadOnlyDeferrable => {
                                builder.serializable().read_only().deferrable()
                            }
                            Mode::ReadCommittedDeferrable => {
                                builder.read_committed().deferrable().read_write()
                            }
                        };
                        let result = builder
                            .run($($async)? |$c| closure($c, steps, *end, world)$($await)*)
                            $($await)*;
                        world.note(&Step::Build(*mode, Vec::new(), *end), result)
                    }
                    Step::Elsewhere(text) => {
                        let result = world.elsewhere.batch_execute(text);
                        world.note(step, result)
                    }
                    Step::Context(n) => {
                        world.log.push(format!("{step:?}: {}", set_context("n", n)));
                        Ok(())
                    }
                } })
            }
        }
    };
}

macro_rules! sync {
    ($module:ident, $connection:ty) => {
        execute!(
            $module, $connection, c,
            [
                use diesel::connection::{AnsiTransactionManager, TransactionManager};
                use diesel::pg::PgRowByRowLoadingMode;
                use diesel::prelude::{Connection, RunQueryDsl, SaveChangesDsl};
            ],
            [], [], std::convert::identity [] -> [QueryResult<()>],
            query => query
                .load_iter::<String, PgRowByRowLoadingMode>(c)
                .and_then(Iterator::collect)
        );
    };
}

macro_rules! asynchronous {
    ($module:ident, $connection:ty) => {
        execute!(
            $module, $connection, c,
            [
                use diesel_async::{
                    AnsiTransactionManager, AsyncConnection, RunQueryDsl, SaveChangesDsl,
                    SimpleAsyncConnection, TransactionManager,
                };
                use futures_util::TryStreamExt;
                use futures_util::future::BoxFuture;
            ],
            [async], [.await], Box::pin [async move] -> [BoxFuture<'a, QueryResult<()>>],
            query => match query.load_stream::<String>(c).await {
                Ok(rows) => rows.try_collect().await,
                Err(error) => Err(error),
            }
        );
    };
}

sync!(sync_plain, diesel::PgConnection);
sync!(sync_bemi, bemi_diesel::BemiConnection);
asynchronous!(async_plain, diesel_async::AsyncPgConnection);
asynchronous!(async_bemi, bemi_diesel::AsyncBemiConnection);
